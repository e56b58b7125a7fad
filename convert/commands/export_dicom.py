"""`limiar export-dicom`. Needs no TensorFlow."""

from pathlib import Path

import click

from limiar.edge_app.commands.options import FILE, key_options, keys_of
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted, for_json


@click.command("export-dicom")
@click.argument("bundle", type=FILE)
@click.argument("results", type=FILE)
@click.argument("sources", nargs=-1, required=True, type=FILE)
@click.option("--out", required=True, type=FILE, metavar="DIR", help="A new folder for the DICOM files.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["sr", "capture"]),
    default="sr",
    show_default=True,
    help="A Structured Report of each series, or a Secondary Capture of each map.",
)
@click.option("--maps", type=FILE, metavar="DIR", help="For --as capture: what `limiar scan --maps` wrote.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON object.")
@key_options
def export_dicom(
    bundle: Path,
    results: Path,
    sources: tuple[Path, ...],
    out: Path,
    kind: str,
    maps: Path | None,
    as_json: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Write answers as DICOM, for a viewer or an archive.

    RESULTS are the JSON lines of `limiar scan` or `series`, made with BUNDLE; SOURCES the DICOM files that were scanned, or
    folders of them, found by their sha256. What they say about the patient and the study is copied into the files in DIR, and
    only there. DIR appears whole or not at all. Research and education, not for diagnosis: each file says so.

    \b
    Example:
      limiar scan bundles/ct study/ --jsonl results.jsonl --maps maps
      limiar export-dicom bundles/ct results.jsonl study/ --out reports
      limiar export-dicom bundles/ct results.jsonl study/ --out captures --as capture --maps maps
    """
    if (kind == "capture") != (maps is not None):
        raise click.UsageError("--as capture and --maps DIR go together.")
    import msgspec

    from limiar.convert.dicom_export.export import export_dicom

    done = export_dicom(bundle, results, *sources, out=out, maps=maps, keys=keys_of(key_files, revoked_files))
    if as_json:
        click.echo(for_json(msgspec.json.encode(done)))
    else:
        pictures, findings = counted(done.pictures, "picture"), counted(done.findings, "finding")
        click.echo(f"{counted(len(done.files), 'file')} in {printable(str(out))}: {pictures}, {findings}")
        for left, why in ((done.refused, "refused"), (done.others, "not DICOM")):
            if left:
                click.echo(f"left out: {counted(left, 'picture')}, {why}", err=True)
    return 0
