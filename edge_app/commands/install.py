"""`limiar install`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE, file_option, key_options, keys_of, runtime_option, state_option

if TYPE_CHECKING:
    from limiar.edge_app.install.install import Installed


@click.command()
@click.argument("source", type=FILE)
@file_option
@runtime_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@key_options
def install(
    source: Path,
    file: str | None,
    runtime: str | None,
    state: Path,
    as_json: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Install a bundle on this device: a folder, or a file of `limiar pack`.

    It is checked, its golden images are run, and then it is current as a whole or not at all. `limiar run` starts it on trial:
    it is good once enough scans are finished, and a bundle that fails before that gives way to the one before. A bundle with a
    smaller release counter than this device has had is refused. With --key, one of these keys must have signed it, and they
    are kept: from then on every bundle needs such a signature. Give --file and --runtime if limiar.toml does.

    \b
    Example:
      limiar install lung-nodule-2.limiar --key release.pub
      limiar install models/lung-nodule
    """
    import msgspec

    from limiar.edge_app.install.install import install as installed
    from limiar.edge_app.install.telling import tell

    done = installed(state, source, keys_of(key_files, revoked_files), file=file, runtime=runtime)
    click.echo(msgspec.json.encode(done) if as_json else _told(done))
    if not done.already and not tell(state, "install", done.detail) and not as_json:
        click.echo("No service runs here: `limiar run` starts with this bundle.", err=True)
    return 0


def _told(done: "Installed") -> str:
    """The outcome for a person."""
    what = f"{done.name} {done.version}"
    if done.already:
        return f"{what} is current already: nothing was changed"
    signed = f"signed by {done.signed_by[:12]}" if done.signed_by else "its signature was not checked"
    back = f"it falls back to {done.fall_back}" if done.fall_back else "there is nothing to fall back to"
    return f"{what} is current and on trial: {done.file} passed on {done.runtime}, {signed}, {back}"
