"""Makes tests/edge_app/data/images: small files whose bytes depend on the encoder, so they are committed.

    .venv/bin/python tests/edge_app/make_lossy_images.py

Only for a new kind of file: run again with another Pillow, the existing ones would change with their golden tensors.
"""

from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).parent / "data" / "images"


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:61, :83]
    waves = [128 + 90 * np.sin(x / a + c) * np.cos(y / b) for c, (a, b) in enumerate([(9, 7), (5, 11), (13, 4)])]
    pixels = np.clip(np.stack(waves, axis=2) + rng.normal(0, 12, (61, 83, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.convert("L").save(OUT / "grey.jpg", quality=90)
    image.save(OUT / "rgb-444.jpg", quality=92, subsampling=0)
    image.save(OUT / "rgb-420.jpeg", quality=75, subsampling=2)
    image.save(OUT / "progressive.jpg", quality=80, progressive=True)
    image.save(OUT / "restarts.jpg", quality=80, restart_marker_rows=1)
    image.save(OUT / "turned.jpg", quality=85, exif=exif)
    image.save(OUT / "lossy.webp", quality=80)
    write_interlaced(OUT / "interlaced.png", pixels[:29, :37])


def write_interlaced(path: Path, pixels: np.ndarray) -> None:
    """A PNG in the seven passes of Adam7 (ISO/IEC 15948, 8.2), which Pillow reads and does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for top, left, down, right in passes for row in pixels[top::down, left::right] if row.size]
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


if __name__ == "__main__":
    main()
