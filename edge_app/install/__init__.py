"""Bundles on a device: two slots, a trial, the way back."""
