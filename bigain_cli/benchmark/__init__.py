"""Speed, arithmetic and memory of compressions side by side: what to time, how to time it, what to say of it."""
