"""Decoders for files that Pillow reads wrongly or not at all: a file whose container is whole -> 8 bits per channel."""

from limiar.edge_app.image.decoders import bmp, bmp_masks, png, pnm, tiff

__all__ = ["bmp", "bmp_masks", "png", "pnm", "tiff"]
