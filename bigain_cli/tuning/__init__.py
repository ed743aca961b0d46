"""`tune`: from a few labelled images and their recorded errors to a profile, by cross-validation."""
