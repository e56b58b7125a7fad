"""PGM and PPM (netpbm): a header in text, then samples as bytes or as text."""

import re

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import PIXELS_MP, Container, check_end, check_pixels, truncated

_HEADER_MOST = 4096  # bytes, with comments
_SPACES = re.compile(rb"[ \t\n\v\f\r]*+(?:#[^\n\r]*+[ \t\n\v\f\r]++)*+")  # possessive: no backtracking
_NUMBER = re.compile(rb"[0-9]{1,9}+(?![0-9])")
_SPACE = b" \t\n\v\f\r"
_PLAIN = (b"P2", b"P3")
_GREY = (b"P2", b"P5")


class Pnm(Container, frozen=True, kw_only=True):
    """The contents of the header of a PGM or PPM."""

    name: str  # PGM or PPM
    width: int
    height: int
    samples: int  # of a pixel
    most: int  # the largest value of a sample, 1..65535
    plain: bool  # samples are numbers in text
    start: int  # of the samples


def inspect(data: bytes) -> Pnm:
    """Reads the header, and checks that as many bytes follow as it says. Raises ImageError."""
    kind = data[:2]
    name = "PGM" if kind in _GREY else "PPM"
    head, at, numbers = data[:_HEADER_MOST], 2, []
    for _ in range(3):
        space, number = _SPACES.match(head, at), None
        assert space  # it matches nothing too
        if space.end() > at:
            number = _NUMBER.match(head, space.end())
        if number is None:
            raise ImageError("E-IMAGE-BROKEN", f"a {name} without a readable header: write it again")
        numbers.append(int(number.group()))
        at = number.end()
    width, height, most = numbers
    if not data[at : at + 1].isspace() or not 0 < most < 65536:
        raise ImageError("E-IMAGE-BROKEN", f"a {name} without a readable header, or with 0 levels: write it again")
    samples = 1 if kind in _GREY else 3
    start, plain, behind = at + 1, kind in _PLAIN, ""
    size = width * height * samples * (1 if most < 256 else 2)
    # Windows may write the one white space after the header as two characters.
    start += data.startswith(b"\r\n", at) and len(data) == start + 1 + size
    if plain:
        if len(data) - start < 2 * width * height * samples - 1:  # a digit and a space each
            raise truncated(f"the {name}'s pixels")
    else:
        behind = check_end(data, start + size, name)
    if width < 1 or height < 1:
        raise ImageError("E-IMAGE-BROKEN", f"{width}x{height} pixels: write it again")
    check_pixels(name, width, height, PIXELS_MP)
    return Pnm(
        "PPM",
        most.bit_length(),
        PIXELS_MP,
        name=name,
        width=width,
        height=height,
        samples=samples,
        most=most,
        plain=plain,
        start=start,
        trailing=behind,
    )
