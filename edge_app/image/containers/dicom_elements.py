"""DICOM data elements (PS3.5, section 7): where each value lies, with lengths that fit together, and values of a few kinds.

No value is ever quoted in a message: a header holds names of people.
"""

import re
import struct
from fractions import Fraction
from typing import NamedTuple

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import truncated

PIXELS = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())  # a length of two bytes
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # two bytes reserved, and a length of four
_DEPTH = 16  # of sequences; structured reports nest about eight deep
_ELEMENTS = 500_000  # of a file, in sequences too: 1 s here; functional groups of 4,096 frames have half as many
_DECIMAL = re.compile(r"[+-]?(?:\d{1,16}(?:\.\d{0,16})?|\.\d{1,16})(?:[eE][+-]?\d{1,2})?")  # DS: at most 16 characters


class Element(NamedTuple):
    """Where an element's value lies: body[start:end]. Of an undefined length, the delimiter at the end is in it."""

    start: int
    end: int
    vr: bytes  # b"" if it is implicit
    defined: bool  # its length


Elements = dict[int, Element]  # by tag: group << 16 | element


def broken(what: str) -> ImageError:
    return ImageError("E-IMAGE-BROKEN", f"a DICOM file {what}: copy or write it again")


def wrong(attribute: str, what: str = "is missing or wrong") -> ImageError:
    """attribute: its name in the standard, never its value."""
    return ImageError("E-DICOM-ATTRIBUTE", f"{attribute} {what}, without which the picture cannot be read: write it again")


class Reader:
    """Reads the elements of a file, in one encoding, and counts them."""

    def __init__(self, body: bytes, *, explicit: bool, big: bool = False) -> None:
        self.body = body
        self._explicit = explicit
        self.order = ">" if big else "<"
        self._tag, self._u2, self._u4 = (struct.Struct(self.order + form) for form in ("HH", "H", "I"))
        self._left = _ELEMENTS
        self._spans: dict[int, list[tuple[int, int]]] = {}  # of the items of a sequence, by its start: a file has many frames
        self._padding = len(body.rstrip(b"\0\xff"))  # from here on there is nothing else

    def elements(self, at: int, end: int, *, only_group: int | None = None, depth: int = 0) -> tuple[Elements, int]:
        """The elements from byte `at` to `end`, or to an item's delimiter, and where they end: before padding, behind pixels.

        only_group: until one of another group comes. Raises ImageError: they do not fit, or not into their order.
        """
        found: Elements = {}
        last = -1
        while at < end:
            if last >= PIXELS and not depth and at >= self._padding:
                break
            if only_group is not None and self.body[at : at + 2] != only_group.to_bytes(2, "little"):
                break
            tag, vr, length, start = self._header(at, end)
            if tag == _ITEM_END and depth:
                return found, start
            if tag >> 16 == _ITEM >> 16:
                raise broken("with an item that is in no sequence")
            if tag <= last:  # PS3.5, 7.1: each once, in the order of their tags
                raise broken("whose attributes are not in order, or there twice")
            last = tag
            if length == _UNDEFINED:
                stop = self._sequence_end(tag, vr, start, end, depth)
            else:
                stop = start + length
                if stop > end:
                    raise truncated("a DICOM attribute") if end == len(self.body) else broken("with a length that does not fit")
            found[tag] = Element(start, stop, vr, length != _UNDEFINED)
            at = stop
        return found, at

    def _header(self, at: int, end: int) -> tuple[int, bytes, int, int]:
        """Tag, VR, length, and where the value starts."""
        self._left -= 1
        if self._left < 0:
            raise broken(f"of over {_ELEMENTS} attributes")
        if at + 8 > end:
            raise truncated("a DICOM attribute") if end == len(self.body) else broken("with a length that does not fit")
        group, number = self._tag.unpack_from(self.body, at)
        if not self._explicit or group == 0xFFFE:
            return group << 16 | number, b"", self._u4.unpack_from(self.body, at + 4)[0], at + 8
        vr = self.body[at + 4 : at + 6]
        if vr in _SHORT:
            return group << 16 | number, vr, self._u2.unpack_from(self.body, at + 6)[0], at + 8
        if vr not in _LONG:
            raise broken("with an attribute of an unknown type")
        if at + 12 > end:
            raise truncated("a DICOM attribute")
        return group << 16 | number, vr, self._u4.unpack_from(self.body, at + 8)[0], at + 12

    def _sequence_end(self, tag: int, vr: bytes, at: int, end: int, depth: int) -> int:
        if vr in (b"OB", b"OW") and tag == PIXELS and not depth:
            return self.spans(at, end)[1]
        if vr not in (b"SQ", b"UN", b""):
            raise broken("with an undefined length that is not allowed")
        reader = self
        if vr == b"UN" and self._explicit:  # PS3.5, 6.2.2, note 2: what is in it is implicit
            reader = Reader(self.body, explicit=False)
            reader._left = self._left
        stop = reader.spans(at, end, depth + 1)[1]
        self._left = reader._left
        return stop

    def spans(self, at: int, end: int, depth: int = 0, defined: bool = False) -> tuple[list[tuple[int, int]], int]:
        """The contents of a sequence's items, or of encapsulated fragments (depth 0), and where the sequence ends.

        defined: the sequence ends at `end`; else at its delimiter. Raises ImageError.
        """
        if depth > _DEPTH:
            raise broken(f"with sequences nested over {_DEPTH} deep")
        found: list[tuple[int, int]] = []
        while at < end or not defined:
            tag, _, length, start = self._header(at, end)
            if tag == _SEQUENCE_END and not defined:
                if length:
                    raise broken("with a delimiter of a length other than 0")
                return found, start
            if tag != _ITEM:
                raise broken("with a sequence that holds something other than items")
            if length == _UNDEFINED and depth:
                at = self.elements(start, end, depth=depth)[1]
                found.append((start, at))
            else:
                at = start + length
                if at > end:
                    raise truncated("a DICOM sequence") if end == len(self.body) else broken("with a length that does not fit")
                found.append((start, at))
        return found, at

    def item(self, element: Element | None, number: int = 0) -> Elements:
        """One of the data sets in a sequence, empty if it is not there. Raises ImageError."""
        spans = self._spans_of(element)
        return self.elements(*spans[number], depth=1)[0] if number < len(spans) else {}

    def _spans_of(self, element: Element | None) -> list[tuple[int, int]]:
        if element is None:
            return []
        if element.start not in self._spans:
            self._spans[element.start] = self.spans(element.start, element.end, 1, element.defined)[0]
        return self._spans[element.start]

    def value(self, element: Element) -> bytes:
        return self.body[element.start : element.end]

    def text(self, element: Element | None) -> str:
        """Of a UI, CS, IS or DS, without padding; "" if it is not there."""
        return self.value(element).decode("ascii", "replace").strip(" \0") if element else ""

    def whole(self, element: Element | None, signed: bool = False) -> tuple[int, ...]:
        """US or SS, 16 bits each; none if it is not there."""
        if element is None or (element.end - element.start) % 2:
            return ()
        count = (element.end - element.start) // 2
        return struct.unpack_from(f"{self.order}{count}{'h' if signed else 'H'}", self.body, element.start)

    def decimals(self, element: Element | None, name: str) -> tuple[Fraction, ...]:
        """DS or IS, exactly; none if it is empty or not there. Raises ImageError, which names the attribute."""
        if element and element.vr == b"FD" and element.end - element.start < 256:
            doubles = struct.unpack_from(f"{self.order}{(element.end - element.start) // 8}d", self.body, element.start)
            if not all(abs(value) < 1e12 for value in doubles):  # not NaN either
                raise wrong(name)
            return tuple(map(Fraction, doubles))
        text = self.text(element)
        if not text:
            return ()
        parts = [part.strip() for part in text.split("\\", 32)]
        if not all(map(_DECIMAL.fullmatch, parts)):
            raise wrong(name)
        return tuple(map(Fraction, parts))
