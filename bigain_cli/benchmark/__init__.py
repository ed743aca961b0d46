"""`bench`: the speed, arithmetic and memory of compressions, side by side."""
