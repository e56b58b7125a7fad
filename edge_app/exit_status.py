"""Exit statuses of commands. Besides these, 0 means done and 2 a usage error (from click)."""

ERROR = 1
FAILED_CHECK = 3  # a gate or a verification did not pass
SOME_REFUSED = 4  # finished, but some inputs were refused
INTERRUPTED = 130
CLOSED_PIPE = 141
