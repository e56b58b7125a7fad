"""limiar: from a Keras image classifier to proven answers on a device."""
