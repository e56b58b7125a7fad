"""`limiar keygen`: make the keys that bundles are signed and checked with. Needs no TensorFlow."""

from pathlib import Path

import click

from limiar.edge_app.errors import printable


@click.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the files and the fingerprint as one JSON object.")
def keygen(name: Path, as_json: bool) -> int:
    """Make a pair of keys: NAME.key signs bundles, NAME.pub checks them on devices.

    Neither file may exist yet. NAME.key is readable by its owner alone. Compare the fingerprint, a sha256 of the public key,
    when you hand a key on.

    \b
    Example:
      limiar keygen release
      limiar convert runs/first --out bundles/first --sign release.key
      limiar verify bundles/first --key release.pub
    """
    import msgspec

    from limiar.convert.publish.keys import keygen

    keys = keygen(name)
    private, public = printable(str(keys.private)), printable(str(keys.public))
    if as_json:
        click.echo(msgspec.json.encode({"private": private, "public": public, "fingerprint": keys.fingerprint}))
        return 0
    click.echo(f"fingerprint {keys.fingerprint}")
    click.echo(f"{private}: keep it secret and safe; sign with `limiar convert … --sign {private}`")
    click.echo(f"{public}: copy it to devices; check with `limiar verify BUNDLE --key {public}`")
    return 0
