"""Words of the health view."""

WORDS: dict[str, tuple[str, str]] = {
    "health.title": ("Health", "Estado"),
}
