"""An accelerator, several of them, several machines: JAX."""
