"""Which files may be released, and why. Imports run, export and anatomy."""
