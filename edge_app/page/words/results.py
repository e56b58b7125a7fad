"""Words of the results view."""

WORDS: dict[str, tuple[str, str]] = {
    "results.title": ("Results", "Resultados"),
}
