"""Generate images from prompts with the network that classifies."""
