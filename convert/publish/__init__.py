"""The bundle or the refusal, what is written beside it, and the keys. Imports pipeline and the rooms below it."""
