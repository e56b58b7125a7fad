"""Slices to studies: `limiar series`."""
