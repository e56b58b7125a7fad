"""`limiar explain`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE, file_option, key_options, keys_of, refer_below_option, runtime_option
from limiar.edge_app.errors import printable
from limiar.edge_app.text import for_json

if TYPE_CHECKING:
    from limiar.edge_app.inference.explain import Explanation


@click.command()
@click.argument("bundle", type=FILE)
@click.argument("image")
@click.option("--out", required=True, type=FILE, metavar="FILE.png", help="Write the picture here.")
@file_option
@runtime_option
@refer_below_option
@click.option("--json", "as_json", is_flag=True, help="Print the answer and the map as one JSON object.")
@key_options
def explain(
    bundle: Path,
    image: str,
    out: Path,
    file: str | None,
    runtime: str | None,
    refer_below: float | None,
    as_json: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Answer one image as `limiar scan` does, and show which parts of it speak for the label.

    The bundle must have been converted with --cam. The picture shows the image, and next to it the image under the label's
    class activation map: red where the evidence for the label is strongest, blue where it is weakest; the scale is below. It
    shows what the model looks at, not whether that is right. Nothing is kept in the database.

    Without --file and --runtime, the choice that `limiar bench --save-best` kept on this device is used, if there is one for
    the bundle.

    \b
    Example:
      limiar explain bundles/first image.png --out why.png
    """
    import msgspec

    from limiar.edge_app.inference.explain import explain as explained

    keys = keys_of(key_files, revoked_files)
    found = explained(bundle, image, out=out, file=file, runtime=runtime, refer_below=refer_below, keys=keys)
    click.echo(for_json(msgspec.json.encode(found)) if as_json else _described(found, out))
    return 0


def _described(found: "Explanation", out: Path) -> str:
    """The explanation for a person."""
    (x, y), size = found.peak, f"{len(found.class_map[0])}x{len(found.class_map)}"
    lines = [
        f"{found.decision}: {found.label} {found.confidence:.1%}, {found.file} on {found.runtime}",
        f"strongest evidence for {found.label} at x={x}, y={y} (map of {size}): {printable(str(out))}",
    ]
    if found.outside:
        lines.append(f"unlike the training images: {', '.join(found.outside)}")
    if found.trailing:
        lines.append(f"the picture in the file is followed by {found.trailing}")
    return "\n".join(lines)
