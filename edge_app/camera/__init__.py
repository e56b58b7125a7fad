"""Frames to answers: `limiar camera`."""
