"""BMP: a header that says how long the file is."""

from edge_app.containers.container import PIXELS_MP, Container, check_end, truncated


def inspect(data: bytes) -> Container:
    if len(data) < 18:
        raise truncated("the BMP header")
    behind = check_end(data, int.from_bytes(data[2:6], "little"), "BMP")
    return Container("BMP", None, PIXELS_MP, trailing=behind)
