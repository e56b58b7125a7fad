"""Training on the desktop: images -> RUN."""
