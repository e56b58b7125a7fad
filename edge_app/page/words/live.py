"""Words of the live view."""

WORDS: dict[str, tuple[str, str]] = {
    "live.title": ("Live", "Ao vivo"),
}
