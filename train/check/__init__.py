"""`limiar check`: what is wrong with a data folder."""
