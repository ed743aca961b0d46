"""Show what a compression does to one image, block by block: `inspect` and its table and figures."""
