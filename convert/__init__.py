"""A RUN -> a BUNDLE: converts a Keras classifier, and publishes it when the files still give Keras's answers."""
