"""What is converted: a Keras model that takes raw pixels and returns logits. Imports no other room."""
