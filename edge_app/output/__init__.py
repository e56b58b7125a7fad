"""Answers as lines: table, JSON lines, CSV, pictures."""
