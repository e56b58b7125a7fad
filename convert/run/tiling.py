"""What came of the files that answer blocks of tiles, for the report."""

from limiar.edge_app.bundle.manifest import Count, Name, Value


class TiledOutcome(Value, frozen=True, forbid_unknown_fields=True):
    """A released model file, for a larger input."""

    of: Name
    rows: Count | None = None  # tiles of a block; None: it is left out
    columns: Count | None = None
    bytes: Count | None = None
    largest_difference: float | None = None  # of a logit from that of the tile alone, on any runtime here
    left_out: str = ""  # why tiles are answered one by one

    @property
    def line(self) -> str:
        """For a person."""
        if self.left_out:
            return f"{self.of} answers tiles one by one: {self.left_out}"
        at_once = f"{self.of} answers {self.rows}x{self.columns} tiles at once"
        return f"{at_once}: their logits differ from those of single tiles by {self.largest_difference:.2g} at most"
