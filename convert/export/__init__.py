"""A Keras model as TFLite and ONNX files."""
