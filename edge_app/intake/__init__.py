"""Watched folders: which files are complete, and may be answered."""
