"""The bundle: its manifest, how it is opened and checked, signed and written."""
