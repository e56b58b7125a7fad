"""Where images come from, and what is made of them for training."""
