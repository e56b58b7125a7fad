"""`limiar compare`: which of two is better."""
