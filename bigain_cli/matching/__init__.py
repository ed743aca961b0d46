"""`match`: which caption belongs to which image, by how much better each lets the network see the noise."""
