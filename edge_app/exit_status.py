"""How a command ends, for shells: 0 is done, 1 refused or failed, 2 usage (click's)."""

ERROR = 1
FAILED_CHECK = 3  # a gate or a verification did not pass
SOME_REFUSED = 4  # finished, but some inputs were refused
INTERRUPTED = 130
CLOSED_PIPE = 141
