"""A picture inside a page."""

import base64
import io

from PIL import Image

from limiar.edge_app.arrays import Pixels


def png_url(pixels: Pixels, most_px: int | None = None) -> str:
    """uint8 [H, W, C] as a PNG inside a URL, in its own size or with no side over `most_px`; the page enlarges it."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if most_px is not None:
        image.thumbnail((most_px, most_px))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
