"""What is converted: a Keras model made to take raw pixels and to return logits."""
