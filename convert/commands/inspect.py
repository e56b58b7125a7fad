"""`limiar inspect`: what a bundle's model files are made of. Needs no TensorFlow."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.errors import printable

if TYPE_CHECKING:
    from limiar.convert.anatomy.details import Details, Inspection, Tensor

_COLUMNS = 80


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--file", "name", metavar="NAME", help="One model file, such as `tflite_int8`. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON array.")
def inspect(bundle: Path, name: str | None, as_json: bool) -> int:
    """Show what a bundle's model files are made of.

    For each file: its operators, float tensors, input and output. For each layer: its output, its weights, how they are
    quantized, and its noise as the bundle's report has it.

    \b
    Example:
      limiar inspect models/lung-nodule --file tflite_int8
    """
    import msgspec

    from limiar.convert.anatomy.details import inspect

    found = inspect(bundle, name)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.files), indent=1))
    else:
        _print(found)
    return 0


def _print(found: "Inspection") -> None:
    from limiar.edge_app.bundle.manifest import PROVEN

    bundle = found.bundle
    if bundle.verdict != PROVEN:
        click.echo(f"{printable(bundle.name)} {printable(bundle.version)}: {printable(bundle.verdict)}\n")
    for index, file in enumerate(found.files):
        click.echo("\n".join([""] * bool(index) + _table(file)))
        if bundle.not_proven and (why := bundle.not_proven.files.get(file.name)):
            click.echo(f"  undecided, allowed by {printable(bundle.not_proven.allowed_by)}: {printable(why)}")


def _table(file: "Details") -> list[str]:
    parts = file.inventory
    operators = ", ".join(f"{each.count} {each.name} v{each.version}" for each in parts.operators)
    lines = [
        f"{file.name}: {file.format}, {file.precision}, {file.bytes} bytes, {parts.float_tensors} float tensors",
        *textwrap.wrap(operators, _COLUMNS, initial_indent="  operators  ", subsequent_indent=" " * 13),
        *(f"  input      {port.type} {_sides(port.shape)}{_scaled(port.scale, port.zero_point)}" for port in parts.inputs),
        *(f"  output     {port.type} {_sides(port.shape)}{_scaled(port.scale, port.zero_point)}" for port in parts.outputs),
        *(f"  only TensorFlow or its own library has {name}" for name in parts.flex),
        f"  {'layer':<22}{'type':<9}{'shape':<14}{'scale':<11}{'zero':>4}  name",
    ]
    for layer in file.layers:
        lines.append(_row(layer.operator, layer.value))
        lines += [_row("  weights", weight) for weight in layer.weights]
    if file.noise:
        lines.append(f"  {'noise, dB (more is better)':<60}{'own':>8}{'so far':>8}")
        lines += [
            f"  {printable(f'{each.layer} ({each.operator})')[:58]:<60}{_decibels(each.snr_db):>8}"
            f"{_decibels(each.cumulative_snr_db):>8}"
            for each in file.noise
        ]
    return lines


def _row(what: str, tensor: "Tensor") -> str:
    scale = "" if tensor.scale is None else f"{tensor.scale:.4g}"
    if tensor.largest_scale is not None:
        scale = f"{tensor.channels} scales"  # --json has the smallest and the largest
    zero_point = "" if tensor.zero_point is None else str(tensor.zero_point)
    row = f"  {what[:21]:<22}{tensor.type:<9}{_sides(tensor.shape):<14}{scale:<11}{zero_point:>4}  "
    left = max(0, _COLUMNS - len(row))
    name = printable(tensor.name)  # its end tells it from the others
    return row + (name if len(name) <= left else "…" + name[len(name) - left + 1 :])


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one"


def _scaled(scale: float | None, zero_point: int | None) -> str:
    return "" if scale is None else f", scale {scale:g}, zero point {zero_point}"


def _decibels(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}"
