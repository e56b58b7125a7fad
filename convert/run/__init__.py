"""Every file's answers on every runtime."""
