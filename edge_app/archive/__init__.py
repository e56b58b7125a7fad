"""Millions of images: planned in chunks, answered by any engine, merged, compared."""
