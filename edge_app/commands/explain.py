"""`limiar explain`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import Finite, key_options, keys_of
from limiar.edge_app.text import for_json

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("image")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE.png", help="Where the picture goes.")
@click.option("--file", "name", metavar="NAME", help="Model file of the bundle, as `tflite_int8`; else its default file.")
@click.option("--runtime", metavar="R", help="litert, tflite-runtime or onnxruntime; else the first that is installed.")
@click.option("--refer-below", type=Finite(0, 1), metavar="P", help="Refer below this confidence; else the bundle's.")
@click.option("--json", "as_json", is_flag=True, help="Answer and map as one JSON object.")
@key_options
def explain(
    bundle: Path,
    image: str,
    out: Path,
    name: str | None,
    runtime: str | None,
    refer_below: float | None,
    as_json: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Answer one image as `limiar scan` does, and show where in it the model finds the label.

    The bundle must have been converted with --cam. The picture shows the image, and beside it the image under the label's
    class activation map: red where the evidence for the label is strongest, blue where it is weakest, on the scale below. It
    shows what the model looks at, not whether that is right. Nothing is kept in the database.

    \b
    Example:
      limiar explain bundles/first image.png --out why.png
    """
    import msgspec

    from limiar.edge_app.bundle.open import open_bundle
    from limiar.edge_app.inference.explain import describe
    from limiar.edge_app.inference.explain import explain as explained

    found = explained(open_bundle(bundle, keys_of(key_files, revoked_files)), name, runtime, refer_below, image, out)
    click.echo(for_json(msgspec.json.encode(found)) if as_json else describe(found, out))
    return 0
