"""Words of the bundle view."""

WORDS: dict[str, tuple[str, str]] = {
    "bundle.title": ("Bundle", "Pacote"),
}
