"""Files, processes, the clock, the terminal and the machine: what Linux offers, and its errors in one line."""
