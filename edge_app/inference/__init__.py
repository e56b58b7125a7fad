"""A bundle's model file on a runtime: its answers, and the proof that they are the right ones."""
