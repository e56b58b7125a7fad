"""What each code of docs/errors.md and docs/health.md means, in one sentence: code -> (English, Portuguese)."""

CODES: dict[str, tuple[str, str]] = {}
