"""The image rules: bytes to pixels, pixels to model input."""
