"""What each code of docs/errors.md and docs/health.md means, in one sentence: code -> (English, Portuguese)."""

from pathlib import Path


def _read(text: str) -> dict[str, tuple[str, str]]:
    blocks = (block.split("\n") for block in text.strip().split("\n\n"))
    return {code: (english, portuguese) for code, english, portuguese in blocks}


CODES = _read((Path(__file__).parent / "codes.txt").read_text(encoding="utf-8"))
