"""Kept answers for people: listed, reviewed, exported, audited."""
