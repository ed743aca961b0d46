"""Foreign diffusion models behind one contract: one file per family."""
