"""`limiar compare`: which of two is better. Imports report, gate and run."""
