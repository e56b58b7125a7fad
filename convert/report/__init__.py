"""What convert found, for people and for programs. Imports gate and run."""
