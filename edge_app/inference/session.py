"""One session: a bundle, one of its model files, the runtime that it runs on, and how it decides.

Without numpy, for the process that keeps the store; `load` imports numpy and the runtime.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import Manifest
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.inference.child import try_model
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.rule import OutsideRule, Rule
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.store.writer import BundleKey

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.inference.classifier import Classifier


class Session:
    """A bundle, model file and rule, before the model is loaded."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        file: str | None = None,
        runtime: str | None = None,
        threads: int = 1,
        refer_below: float | None = None,
        outside: OutsideRule = "refer",
    ) -> None:
        """Raises BundleError: no such model file. None: the bundle's own choice, or the device's."""
        self.bundle = bundle
        self.file, data = bundle.model(file)
        self.model = Model(
            name=self.file.name,
            format=self.file.format,
            data=data,
            labels=self.manifest.labels,
            input=self.manifest.input,
            envelope=self.manifest.envelope,
            rule=Rule(self.file.decision.referring(refer_below), outside),
            runtime=runtime,
            threads=threads,
        )

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest

    def origin(self, runtime: str, version: str) -> Origin:
        """The origin of its answers, after the file is verified on that runtime: by the bundle, or by its golden images, here.

        Raises RuntimeUnavailable if they do not pass.
        """
        from limiar.edge_app.inference.verified import ensure_verified

        verified = ensure_verified(self.bundle, self.file, runtime, version)
        return Origin(self.bundle.sha256, self.file.name, f"{runtime} {version}", verified, APP)

    def key(self, origin: Origin) -> BundleKey:
        """The key under which the store keeps its answers."""
        name, version = self.manifest.name, self.manifest.version
        return BundleKey(origin.bundle, name, version, origin.file, origin.runtime, self.manifest.labels)

    def load(self) -> "tuple[Classifier, Origin]":
        """Loads the model file into this process, after a child process has tried it and the file is verified.

        Raises RuntimeUnavailable, and ModelUnfit if the model file is at fault.
        """
        from limiar.edge_app.inference.classifier import load

        loaded = try_model(self.model)
        origin = self.origin(loaded.runtime, loaded.version)
        return load(self.model), origin

    def describe(self, origin: Origin) -> str:
        """One line for a person: which model answers, and below which confidence it refers."""
        what = f"{self.manifest.name} {self.manifest.version}, {origin.file} on {origin.runtime}"
        return f"{what}, verified by {origin.verified}; refer below {self.model.rule.decision.refer_below:g}"


def open_session(
    bundle: Path | str,
    *,
    file: str | None = None,
    runtime: str | None = None,
    threads: int = 1,
    refer_below: float | None = None,
    outside: OutsideRule = "refer",
    keys: "Keys | None" = None,
) -> Session:
    """Opens a bundle and chooses a model file and a rule. Raises BundleError."""
    opened = open_bundle(bundle, keys)
    return Session(opened, file=file, runtime=runtime, threads=threads, refer_below=refer_below, outside=outside)
