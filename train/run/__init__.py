"""A training from images to a RUN."""
