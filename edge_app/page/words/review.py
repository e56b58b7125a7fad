"""Words of the review view."""

WORDS: dict[str, tuple[str, str]] = {
    "review.title": ("Review", "Revisão"),
}
