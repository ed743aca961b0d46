"""Shortlists: from labels, and sometimes an image, to the labels that a race should ask. Knows no race."""
