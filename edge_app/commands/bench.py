"""`limiar bench`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE, key_options, keys_of
from limiar.edge_app.exit_status import FAILED_CHECK

if TYPE_CHECKING:
    from collections.abc import Callable

    from limiar.edge_app.bench.baseline import Judgement
    from limiar.edge_app.bench.recorded import Recorded
    from limiar.edge_app.bench.result import BenchResult


@click.command()
@click.argument("bundle", type=FILE, metavar="BUNDLE|MODEL")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="NAME",
    help="Model files, such as `tflite_int8`, separated by commas. Default: all.",
)
@click.option(
    "--runtime", "runtimes", multiple=True, metavar="R", help="Runtimes, separated by commas. Default: all installed."
)
@click.option(
    "--threads",
    metavar="N,N",
    help="Inference threads, such as 1,2. Default: 1; with --save-best 1, 2 and 4, up to the cores.",
)
@click.option("--image", "image", type=FILE, help="An image to answer. Default: a sample.")
@click.option("--images", "folder", type=FILE, help="A folder of images to answer, up to 1,000.")
@click.option(
    "--rate",
    "rate_hz",
    type=click.FloatRange(0, 10_000, min_open=True),
    metavar="HZ",
    help="Also let images arrive so often, as from a camera, and measure each from when it was due (open loop).",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 86_400, min_open=True),
    help="Measure each variant for so long, in each loop. Default: the preset's; 60 with --rate.",
)
@click.option(
    "--preset",
    type=click.Choice(["quick", "normal", "mlperf"]),
    default="normal",
    show_default=True,
    help="How much: quick gives p99, normal p99.9; mlperf takes 600 s per variant, and adds LoadGen's bound of p90.",
)
@click.option("--count", type=click.IntRange(20), help="Calls per variant. Default: the preset's; p99 needs 662.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order in which variants take turns.")
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Print JSON instead of the table; with FILE, write it there and print the table.",
)
@click.option("--html", "html_file", type=FILE, help="Also write a page with plots (`pip install 'limiar[html]'`).")
@click.option("--baseline", type=FILE, help="An older --json of this machine; exit with 3 if this run is slower than that.")
@click.option(
    "--fail-on",
    default="slower=5%",
    show_default=True,
    metavar="slower=P%",
    help="With --baseline: how much slower. It counts only if the 95 % interval lies wholly beyond.",
)
@click.option(
    "--budget",
    metavar="pN=TIME",
    help="Such as p95=20ms: exit with 3 if the whole way takes longer, or the calls do not suffice to know.",
)
@click.option(
    "--save-best",
    is_flag=True,
    help="Keep the fastest whose golden images pass as this device's profile, which scan, camera and explain use.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Also look into the model files: operators, multiply-accumulates, memory, the share of this processor's peak.",
)
@click.option("--wide", is_flag=True, help="Print all columns, even beyond 80 characters.")
@key_options
def bench(
    bundle: Path,
    files: tuple[str, ...],
    runtimes: tuple[str, ...],
    threads: str | None,
    image: Path | None,
    folder: Path | None,
    rate_hz: float | None,
    seconds: float | None,
    preset: str,
    count: int | None,
    seed: int,
    json_file: str | None,
    html_file: Path | None,
    wide: bool,
    save_best: bool,
    profile: bool,
    baseline: Path | None,
    fail_on: str,
    budget: str | None,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Measure latency, start-up and memory of a bundle's model files on the runtimes installed here.

    Each is measured stage by stage, from an image's file to its answer on the disk. Variants take turns in a few processes, one
    after another; start-up and memory come from fresh processes. A run in which the board slowed down is marked INVALID. Close
    other programs first.

    MODEL is any .tflite or .onnx file, and needs no bundle: its inference alone is measured, with random inputs.

    \b
    Example:
      limiar bench models/lung-nodule --file tflite_int8,tflite_fp32 --threads 1,2 --json bench.json
      limiar bench models/lung-nodule --images patches --rate 30 --preset quick
      limiar bench yolo.tflite --threads 1,4
      limiar bench models/lung-nodule --baseline bench.json --fail-on slower=5% --budget p95=20ms
    """
    _check(bundle, rate_hz, seconds, file=files, image=image, images=folder, save_best=save_best, key=key_files + revoked_files)
    counts, keys = _thread_counts(threads, save_best), keys_of(key_files, revoked_files)
    gates, places = _gates(baseline, fail_on, budget, save_best), _places(json_file, html_file)

    from limiar.edge_app.bench.bench import bench as measure
    from limiar.edge_app.system.progress import ProgressLine

    with ProgressLine() as line:
        result = measure(
            bundle,
            files=_listed(files),
            runtimes=_listed(runtimes),
            threads=counts,
            images=[given for given in (image, folder) if given],
            rate_hz=rate_hz,
            seconds=seconds,
            preset=preset,
            count=count,
            seed=seed,
            verify=save_best,
            profile=profile,
            keys=keys,
            progress=lambda what, done, total: line.draw(f"{what}: {done} of {total}"),
        )
    return _report(result, places, gates, table=json_file != "-", wide=wide, save=save_best)


def _thread_counts(threads: str | None, save: bool) -> list[int]:
    """The numbers of --threads. Raises UsageError."""
    if threads is None:
        from limiar.edge_app.bench.plan import tried_threads

        return tried_threads() if save else [1]
    try:
        counts = [int(number) for number in threads.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= number <= 64 for number in counts):
        raise click.BadParameter(f"{threads!r} is not a list of numbers from 1 to 64.", param_hint="--threads")
    return counts


def _check(bundle: Path, rate_hz: float | None, seconds: float | None, **of_bundles: object) -> None:
    """Raises UsageError: no image would arrive, or a model file is given options that need a bundle."""
    from limiar.edge_app.bench.bare import is_model
    from limiar.edge_app.bench.plan import arrivals

    for name, given in (*of_bundles.items(), ("rate", rate_hz)):
        if given and is_model(bundle):
            raise click.UsageError(f"--{name.replace('_', '-')} needs a bundle; of a model file, invoke alone is measured.")
    if rate_hz is None:
        return

    try:
        arrivals(rate_hz, seconds)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from None


def _gates(baseline: Path | None, fail_on: str, budget: str | None, save: bool) -> "list[Callable[[Recorded], Judgement]]":
    """What the result must pass, before anything is measured. Raises UsageError, and LimiarError if nothing can be kept."""
    if save:
        from limiar.edge_app.bench.choose import check_keepable

        check_keepable()
    if baseline is None and budget is None:
        return []
    from limiar.edge_app.bench.baseline import budget_of, judge, slower_limit, within_budget
    from limiar.edge_app.bench.recorded import read_result

    gates: list[Callable[[Recorded], Judgement]] = []
    try:
        if baseline:
            old, limit = read_result(baseline), slower_limit(fail_on)
            gates.append(lambda new: judge(new, old, limit))
        if budget:
            kept = budget_of(budget)
            gates.append(lambda new: within_budget(new, kept))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return gates


def _judged(result: "BenchResult", gates: "list[Callable[[Recorded], Judgement]]", save: bool) -> int:
    """Says on stderr what each gate says and what was kept; returns the exit status.

    Raises LimiarError: the runs cannot be compared, or nothing can be kept.
    """
    from limiar.edge_app.bench.recorded import recorded

    judgements = [gate(recorded(result)) for gate in gates]
    for line in (line for judgement in judgements for line in judgement.lines):
        click.echo(line, err=True)
    if save:
        _save_best(result)
    return 0 if all(judgement.passed for judgement in judgements) else FAILED_CHECK


def _save_best(result: "BenchResult") -> None:
    """Raises LimiarError."""
    from limiar.edge_app.bench.choose import save_best
    from limiar.edge_app.errors import printable
    from limiar.edge_app.output.files import writable
    from limiar.edge_app.store.profile import profile_path
    from limiar.edge_app.store.state import state_folder

    with writable(profile_path(state_folder(), result.bundle)):
        path = save_best(result, state_folder())
    click.echo(f"kept for scan, camera and explain: {printable(str(path))}", err=True)


def _listed(names: tuple[str, ...]) -> list[str]:
    """`--file A --file B,C` -> A, B, C, each once."""
    return list(dict.fromkeys(name for given in names for name in given.split(",") if name))


def _places(json_file: str | None, html_file: Path | None) -> "dict[Path, Callable[[BenchResult], bytes]]":
    """The files that were asked for and what makes each, checked before minutes of measuring.

    Raises OutputError, LimiarError if what a page needs is not installed, and UsageError if both are one file.
    """
    from limiar.edge_app.output.files import writable
    from limiar.edge_app.system.files import check_replaceable

    places: dict[Path, Callable[[BenchResult], bytes]] = {}
    if json_file not in (None, "-"):
        places[Path(json_file)] = _json
    if html_file in places:
        raise click.BadParameter("This is the file for --json.", param_hint="--html")
    if html_file:
        places[html_file] = _page_maker()
    for path in places:
        with writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            check_replaceable(path)
    return places


def _page_maker() -> "Callable[[BenchResult], bytes]":
    """Raises LimiarError."""
    from limiar.edge_app.errors import LimiarError

    try:
        from limiar.edge_app.bench.page import page
    except ModuleNotFoundError as error:
        met = f"--html needs {error.name}, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[html]'") from None
    return page


def _json(result: "BenchResult") -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def _report(
    result: "BenchResult",
    places: "dict[Path, Callable[[BenchResult], bytes]]",
    gates: "list[Callable[[Recorded], Judgement]]",
    table: bool,
    wide: bool,
    save: bool,
) -> int:
    """Prints the table, or JSON alone, and writes the files; then judges. Returns the exit status. Raises LimiarError."""
    from limiar.edge_app.bench.table import table as lines_of
    from limiar.edge_app.output.files import writable
    from limiar.edge_app.system.files import write_whole

    if table:
        click.echo("\n".join(lines_of(result, wide)))
    else:
        click.echo(_json(result), nl=False)
    for path, made in places.items():
        with writable(path):
            write_whole(path, made(result))
    return _judged(result, gates, save)
