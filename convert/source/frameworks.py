"""Keras and TensorFlow. Import them from here: their settings only count before they are first imported.

oneDNN chooses other orders of summation on other processors, and the report's figures must repeat; conversion runs on the CPU
everywhere, so that the bytes are the same with and without a GPU.
"""

import os

from limiar.edge_app.system.stderr import captured_stderr

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with captured_stderr():
    import keras
    import tensorflow as tf

tf.config.set_visible_devices([], "GPU")

__all__ = ["keras", "tf"]
