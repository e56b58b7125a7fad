"""A run's figures in TensorBoard and MLflow."""
