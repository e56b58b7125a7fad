"""The RUN: its files and the figures in it. Numpy alone, since convert reads it too."""
