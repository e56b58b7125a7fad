"""`limiar bench`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import key_options, keys_of

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--file", "files", multiple=True, metavar="NAME", help="Model file, as `tflite_int8`; several, or A,B; else all.")
@click.option(
    "--runtime", "runtimes", multiple=True, metavar="R", help="Runtime; several, or A,B; else all that are installed."
)
@click.option("--threads", default="1", show_default=True, metavar="N,N", help="Inference threads, as 1,2.")
@click.option("--count", type=click.IntRange(20), default=1000, show_default=True, help="Calls each; 1000 give p99.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which variants take turns.")
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Print JSON in place of the table; with FILE write it there beside the table.",
)
@key_options
def bench(
    bundle: Path,
    files: tuple[str, ...],
    runtimes: tuple[str, ...],
    threads: str,
    count: int,
    seed: int,
    json_file: str | None,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Measure latency, start-up and memory of a bundle's model files on the runtimes that are installed here.

    Variants take turns in one process; start-up and memory come from fresh processes. Close other programs first.

    \b
    Example:
      limiar bench models/lung-nodule --file tflite_int8,tflite_fp32 --threads 1,2 --json bench.json
    """
    import msgspec

    from limiar.edge_app.bench.latency import bench as measured
    from limiar.edge_app.bench.latency import print_table
    from limiar.edge_app.bundle.open import open_bundle
    from limiar.edge_app.output.files import writable
    from limiar.edge_app.system.files import check_replaceable, write_whole
    from limiar.edge_app.system.progress import Progress

    try:
        counts = [int(number) for number in threads.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= number <= 64 for number in counts):
        raise click.BadParameter(f"{threads!r} is not a list of numbers from 1 to 64.", param_hint="--threads")
    opened = open_bundle(bundle, keys_of(key_files, revoked_files))
    if json_file and json_file != "-":
        with writable(Path(json_file)):  # said before minutes of measuring
            Path(json_file).parent.mkdir(parents=True, exist_ok=True)
            check_replaceable(Path(json_file))
    with Progress() as progress:
        result = measured(opened, _listed(files), _listed(runtimes), counts, count, seed, progress)
    data = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    if json_file == "-":
        click.echo(data, nl=False)
        return 0
    print_table(result)
    if json_file:
        with writable(Path(json_file)):
            write_whole(Path(json_file), data)
    return 0


def _listed(names: tuple[str, ...]) -> list[str]:
    """`--file A --file B,C` -> A, B, C, each once."""
    return list(dict.fromkeys(name for given in names for name in given.split(",") if name))
