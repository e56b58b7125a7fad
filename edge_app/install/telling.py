"""What happens after a change of the bundle: the audit log keeps it, and a running service starts with the new one.

Whoever writes the store is alone: the running service, or, if there is none, this process.
"""

from pathlib import Path

from limiar.edge_app.control import AskAudit, AskReload, ask
from limiar.edge_app.store.writer import Store


def tell(state: Path, kind: str, detail: dict[str, str]) -> bool:
    """Keeps a change in the audit log, and has the service start again; returns whether one runs.

    Raises LimiarError: the change itself is done, but not everything of this.
    """
    try:
        if ask(state, AskAudit(kind, detail)) is None:
            with Store(state / "results.db", "install") as store:
                store.audit(kind, detail)
    finally:  # even if the log cannot be written now: the change is done
        runs = ask(state, AskReload()) is not None
    return runs
