"""A Keras model as TFLite and ONNX files. Imports anatomy and source."""
