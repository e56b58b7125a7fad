"""The bundle, or the refusal, and what is written beside it."""
