"""Every file's answers on every runtime. Imports export and anatomy."""
