"""What convert found, for people and for programs."""
