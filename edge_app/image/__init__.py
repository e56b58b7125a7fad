"""The image rules: from the bytes of a file to pixels, and from pixels to model input."""
