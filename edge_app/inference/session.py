"""One session: a bundle, one of its model files, the runtime that it runs on, and how it decides.

Without numpy, so that the process that keeps the store can have one; `load` brings numpy and the runtime.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import Manifest
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.rule import OutsideRule, Rule
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.store.writer import BundleKey

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.inference.classifier import Classifier


class Session:
    """What answers, before it is loaded."""

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
        """Raises BundleError: no such model file. None stands for the bundle's own choice, or the device's."""
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
        """What its answers come from, once the file was verified on that runtime: by the bundle, or here and now.

        Raises RuntimeUnavailable if the golden images do not pass.
        """
        from limiar.edge_app.inference.verified import ensure_verified

        verified = ensure_verified(self.bundle, self.file, runtime, version)
        return Origin(self.bundle.sha256, self.file.name, f"{runtime} {version}", verified, APP)

    def key(self, origin: Origin) -> BundleKey:
        """Under which the store keeps its answers."""
        name, version = self.manifest.name, self.manifest.version
        return BundleKey(origin.bundle, name, version, origin.file, origin.runtime, self.manifest.labels)

    def load(self) -> "Classifier":
        """Loads the model file into this process and tries it once. Raises RuntimeUnavailable, and ModelUnfit."""
        from limiar.edge_app.inference.classifier import load

        return load(self.model)

    def describe(self, origin: Origin) -> str:
        """One line for a person: what answers, and from which confidence on."""
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
    """Opens a bundle and chooses what answers. Raises BundleError."""
    opened = open_bundle(bundle, keys)
    return Session(opened, file=file, runtime=runtime, threads=threads, refer_below=refer_below, outside=outside)
