"""Words, numbers and dates of the page, in English and Portuguese."""

from datetime import UTC, datetime
from functools import cache
from typing import Literal

from limiar.edge_app.page.words import bundle, codes, common, health, live, phone, results, review

Code = Literal["en", "pt"]
CODES: tuple[Code, ...] = ("en", "pt")
WORDS = common.WORDS | live.WORDS | results.WORDS | review.WORDS | health.WORDS | bundle.WORDS | phone.WORDS

_MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "pt": ("jan.", "fev.", "mar.", "abr.", "maio", "jun.", "jul.", "ago.", "set.", "out.", "nov.", "dez."),
}
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Language:
    """One of the page's languages."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._index = CODES.index(code)

    def words(self, key: str, **values: object) -> str:
        """The text of a key, with {name} filled in; plain text. Raises KeyError."""
        return WORDS[key][self._index].format(**values) if values else WORDS[key][self._index]

    def counted(self, key: str, count: int, **values: object) -> str:
        """The text of key.one or key.other, with {n} filled in."""
        return self.words(f"{key}.{'one' if count == 1 else 'other'}", n=self.number(count), **values)

    def sentence(self, code: str) -> str | None:
        """What an error code means, in one sentence; None if it is not known here."""
        found = codes.CODES.get(code)
        return found[self._index] if found else None

    def number(self, value: float, digits: int = 0) -> str:
        """1,234.5 or 1.234,5."""
        text = f"{value:,.{digits}f}"
        return text if self.code == "en" else text.translate(str.maketrans(",.", ".,"))

    def percent(self, share: float, digits: int = 1) -> str:
        """Of a share of 0 to 1; never rounded to certainty."""
        low, high = 10.0**-digits, 100 - 10.0**-digits
        if high < 100 * share < 100 and round(100 * share, digits) == 100:
            return f"> {self.number(high, digits)}%"
        if 0 < 100 * share < low / 2:
            return f"< {self.number(low, digits)}%"
        return f"{self.number(100 * share, digits)}%"

    def size(self, count: float) -> str:
        """Of bytes: "3.2 MB"."""
        for limit, unit, digits in ((1e3, "B", 0), (1e6, "kB", 0), (1e9, "MB", 1)):
            if abs(count) < limit:
                return f"{self.number(count / (limit / 1e3), digits)} {unit}"
        return f"{self.number(count / 1e9, 1)} GB"

    def duration(self, seconds: float) -> str:
        """In the largest unit of which there is one: "12 seconds", "3 hours"."""
        count, unit = next(((int(seconds // length), unit) for length, unit in _UNITS if seconds >= length), (0, "second"))
        return self.counted(f"unit.{unit}", count)

    def ago(self, seconds: float) -> str:
        """How long something was before now: "12 seconds ago"."""
        return self.words("time.now") if seconds < 1 else self.words("time.ago", duration=self.duration(seconds))

    def date(self, moment: datetime) -> str:
        """The day, as people write it."""
        month = _MONTHS[self.code][moment.month - 1]
        joint = " de " if self.code == "pt" else " "
        return f"{moment.day}{joint}{month}{joint}{moment.year}"

    def moment(self, iso: str) -> str:
        """Day and time of an instant in UTC, in the device's time zone; as it is if it is no instant."""
        try:
            local = local_time(iso)
        except (ValueError, OverflowError, OSError):
            return iso
        return f"{self.date(local)}, {local:%H:%M:%S}"


def local_time(iso: str) -> datetime:
    """An instant in UTC in the device's time zone. Raises ValueError, OverflowError and OSError."""
    moment = datetime.fromisoformat(iso)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone()


@cache
def language(code: Code) -> Language:
    """The one with this code."""
    return Language(code)
