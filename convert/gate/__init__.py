"""Which files may be released, and why."""
