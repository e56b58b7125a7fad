"""Results in SQLite, and limiar's state folder."""
