"""What is kept of a start: which program, bundle and configuration answer from now on, and what of it has changed."""

from limiar.edge_app import APP
from limiar.edge_app.health.status import BundleStatus
from limiar.edge_app.inference.session import Session
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.service.chosen import Chosen
from limiar.edge_app.store.app_files import app_sha256
from limiar.edge_app.store.writer import Store

_DECIDES = ("refer_below", "outside")  # a change of these is one of the threshold


def audit_start(store: Store, session: Session, origin: Origin, config: str) -> None:
    """Keeps a start in the audit log, and what is not as at the last one. config: sha256 of its file. Raises StoreError."""
    now = {
        "app": APP,
        "app_sha256": app_sha256().hex(),
        "bundle": origin.bundle,
        "file": origin.file,
        "runtime": origin.runtime,
        "refer_below": f"{session.model.rule.decision.refer_below:g}",
        "outside": session.model.rule.outside,
        "config": config,
    }
    if before := store.last_audit("start"):
        for kind, names in (("config", ("config",)), ("threshold", _DECIDES)):
            changed = [name for name in names if before.get(name) != now[name]]
            if changed:
                store.audit(kind, {name: f"{before.get(name, '')} -> {now[name]}" for name in changed})
    store.audit("start", now)


def bundle_status(session: Session, origin: Origin, chosen: Chosen) -> BundleStatus:
    """The bundle for `limiar status`."""
    manifest = session.manifest
    return BundleStatus(
        name=manifest.name,
        version=manifest.version,
        sha256=origin.bundle,
        counter=manifest.release_counter,
        file=origin.file,
        runtime=origin.runtime,
        verified=origin.verified,
        intended_use=manifest.intended_use,
        folder=str(chosen.path),
        **chosen.status(),
    )
