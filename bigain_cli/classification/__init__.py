"""Classify images: denoising errors, elimination of labels, estimates, rankings and heatmaps."""
