"""Files, processes, the clock, the terminal and the machine, as Linux offers them, and its errors in one line."""
