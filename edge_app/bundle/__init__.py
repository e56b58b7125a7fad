"""The bundle contract."""
