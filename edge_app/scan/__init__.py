"""Files to answers: `limiar scan`."""
