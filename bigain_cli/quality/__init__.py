"""How good generated pictures are: distances, precision and recall to real ones, in the eyes of a named feature."""
