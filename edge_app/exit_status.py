"""Exit statuses of commands; besides, 0 is done and 2 a usage error (click's)."""

ERROR = 1
FAILED_CHECK = 3  # a gate or a verification did not pass
SOME_REFUSED = 4  # finished, but some inputs were refused
INTERRUPTED = 130
CLOSED_PIPE = 141
