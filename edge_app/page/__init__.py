"""The page of a device: what it answers, for people, in their browser."""
