"""`limiar keygen`: the pair of keys that bundles are signed and checked with. Needs no TensorFlow."""

import contextlib
from pathlib import Path

import click

from limiar.edge_app.errors import KeyFileError, printable


@click.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Files and fingerprint as one JSON object.")
def keygen(name: Path, as_json: bool) -> int:
    """Make a pair of keys: NAME.key signs bundles, NAME.pub checks them on devices.

    Neither file may be there yet; NAME.key can be read by its owner alone. The fingerprint, a sha256 of the public key, is
    what to compare when a key is handed on.

    \b
    Example:
      limiar keygen release
      limiar convert runs/first --out bundles/first --sign release.key
      limiar verify bundles/first --key release.pub
    """
    import msgspec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    from limiar.edge_app.bundle.signature import public_half

    pair = Ed25519PrivateKey.generate()
    private, public = (Path(f"{name}.{suffix}") for suffix in ("key", "pub"))
    pem = pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public_pem = pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write(private, pem, 0o600)
    try:
        _write(public, public_pem, 0o644)
    except KeyFileError:
        with contextlib.suppress(OSError):
            private.unlink()  # half a pair is of no use
        raise
    fingerprint = public_half(pair).fingerprint
    if as_json:
        click.echo(
            msgspec.json.encode(
                {"private": printable(str(private)), "public": printable(str(public)), "fingerprint": fingerprint}
            )
        )
        return 0
    private_name, public_name = printable(str(private)), printable(str(public))
    click.echo(f"fingerprint {fingerprint}")
    click.echo(f"{private_name}: keep it secret and safe; sign with `limiar convert … --sign {private_name}`")
    click.echo(f"{public_name}: copy it to devices; check with `limiar verify BUNDLE --key {public_name}`")
    return 0


def _write(path: Path, pem: bytes, mode: int) -> None:
    from limiar.edge_app.system.files import write_new

    try:
        write_new(path, pem, mode)
    except FileExistsError:
        met = f"{printable(str(path))} is there already, and a key that is lost is lost for good"
        raise KeyFileError("E-KEY-EXISTS", f"{met}: choose another NAME") from None
    except OSError as error:
        met = f"{printable(str(path))}: {error.strerror}"
        raise KeyFileError("E-KEY-WRITE", f"{met}: choose a NAME in a folder that can be written") from None
