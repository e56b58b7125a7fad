"""What happens to an image file, for tests of damage."""

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode


def refusal(data: bytes) -> str:
    """The code that it is refused with, or "answered"."""
    try:
        decode(data)
    except ImageError as error:
        return error.code
    return "answered"
