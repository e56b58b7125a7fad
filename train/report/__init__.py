"""The page of a RUN."""
