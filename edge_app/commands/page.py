"""`limiar page`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app.commands.options import FILE, state_option
from limiar.edge_app.errors import LimiarError

if TYPE_CHECKING:
    from limiar.edge_app.page.settings import PageSettings


@click.command()
@click.option(
    "--listen",
    default="127.0.0.1:8460",
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Where; 0.0.0.0:8460 is the network.",
)
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A further name under which browsers reach the page.")
@click.option("--read-only", is_flag=True, help="For a wall screen: nothing can be changed.")
@click.option("--token", is_flag=True, help="Ask for the token on this machine too, where several people have accounts.")
@click.option("--new-token", is_flag=True, help="Make a new token, print it, and stop. It ends all sessions.")
@click.option("--certificate", type=FILE, metavar="FILE.pem", help="Speak TLS with this certificate and its chain.")
@click.option("--key", type=FILE, metavar="FILE.pem", help="The certificate's private key.")
@click.option("--trust", "keys", type=FILE, multiple=True, metavar="FILE.pub", help="Take uploaded bundles signed by this key.")
@click.option(
    "--done",
    multiple=True,
    default=("done", "quarantine"),
    metavar="NAME",
    help="Folder into which the service moves files.",
)
@state_option
def page(
    listen: str,
    hosts: tuple[str, ...],
    read_only: bool,
    token: bool,
    new_token: bool,
    certificate: Path | None,
    key: Path | None,
    keys: tuple[Path, ...],
    done: tuple[str, ...],
    state: Path,
) -> int:
    """Serve the page of this device: what it answers, for people to look at and to review, in their browser.

    It shows what the state folder holds and what the running service says. By default only this machine reaches it; on the
    network it asks for a token. `limiar run` serves it too, if limiar.toml says so. Ctrl-C and SIGTERM end it.

    \b
    Example:
      limiar page
      limiar page --new-token
      limiar page --listen 0.0.0.0:8460 --certificate device.pem --key device.key
    """
    if (certificate is None) != (key is None):
        raise click.UsageError("Give --certificate and --key together.")
    if new_token:
        from limiar.edge_app.page.access import new_token as made

        click.echo(made(state))
        return 0
    from limiar.edge_app.page.settings import PageSettings
    from limiar.edge_app.system.listening import listen_on

    address, port = listen_on(listen)
    settings = PageSettings(
        state=state,
        address=address,
        port=port,
        hosts=hosts,
        read_only=read_only,
        token=token,
        certificate=certificate,
        key=key,
        keys=keys,
        moved_to=done,
    )
    return _serve(settings)


def _serve(settings: "PageSettings") -> int:
    try:
        from limiar.edge_app.page.serve import serve
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "limiar":
            raise
        met = f"limiar page needs {error.name}, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[web]'") from None

    def tell(url: str) -> None:
        click.echo(f"The page is at {url} (Ctrl-C ends it).", err=True)
        if settings.in_clear:
            click.echo("Without --certificate, whoever is on the network can read along, the token too.", err=True)

    return serve(settings, tell)
