"""What a model file is made of, and how much noise each layer adds. Imports no other room."""
