"""An image, enlarged, with its answer below it: green if decided, red if referred, as in the course."""

import io

from PIL import Image, ImageDraw, ImageFont

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import REFER

_SIDE_PX = 400  # of the longer side
_BAND_PX = 44  # below the image, for the text
_COLOURS = {True: (0, 128, 0), False: (200, 0, 0)}  # decided, referred; both are legible on white


def enlarged(pixels: Pixels, side_px: int = _SIDE_PX) -> Image.Image:
    """uint8 [H, W] or [H, W, 3] -> RGB, the longer side `side_px`; a larger image becomes smaller."""
    image = Image.fromarray(pixels)
    scale = side_px / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX).convert("RGB")


def png(image: Image.Image, answer: Answer) -> bytes:
    """The bytes of a PNG file: an `enlarged` image, or several in one, with the answer below."""
    width, height = image.size
    whole = max(width, _SIDE_PX)
    canvas = Image.new("RGB", (whole, height + _BAND_PX), "white")
    canvas.paste(image, ((whole - width) // 2, 0))
    decided = answer.decision != REFER
    text = f"{answer.label} {answer.confidence:.1%}" if decided else f"{REFER}: {answer.label} {answer.confidence:.1%}"
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, height, whole - 1, height + _BAND_PX - 1), outline=_COLOURS[decided], width=3)
    draw.text((12, height + 10), text, fill=_COLOURS[decided], font=ImageFont.load_default(20))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()
