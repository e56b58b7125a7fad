"""One session: a bundle, one of its model files, the runtime that it runs on, and how it decides.

Without numpy, for the process that keeps the store; `load` imports numpy and the runtime.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import Manifest
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import RuntimeUnavailable, StoreError
from limiar.edge_app.inference.child import try_model
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.rule import OutsideRule, Rule
from limiar.edge_app.inference.tiling import Tiling, block_file, tiles_of
from limiar.edge_app.inference.verified import ensure_verified
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.store.state import state_folder
from limiar.edge_app.store.writer import BundleKey

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.drift.reference import Reference
    from limiar.edge_app.inference.classifier import Classifier
    from limiar.edge_app.store.profile import Profile


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
        profile: "Profile | None" = None,
        measure: bool = False,
        tiles: Tiling = None,
    ) -> None:
        """Raises BundleError: no such model file, or nothing says what tiles are searched for.

        None: the bundle's own choice, or the device's; for tiles, that a picture is one image. profile: the one that file,
        runtime and threads are from, if they are from one. measure: answers have the statistics of their images.
        """
        self.bundle = bundle
        self.profile = profile
        self.file, data = bundle.model(file)
        asked = tiles_of(self.manifest, tiles)
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
            measure=measure,
            limits=self.manifest.assessable or None,
            tiles=asked,
            blocks=block_file(bundle, self.file.name, asked),
        )

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest

    def origin(self, runtime: str, version: str) -> Origin:
        """The origin of its answers, after the file is verified on that runtime: by the bundle, or by its golden images, here.

        Raises RuntimeUnavailable if they do not pass.
        """
        verified = ensure_verified(self.bundle, self.file, runtime, version)
        return Origin(self.bundle.sha256, self.file.name, f"{runtime} {version}", verified, APP)

    def key(self, origin: Origin) -> BundleKey:
        """The key under which the store keeps its answers."""
        name, version = self.manifest.name, self.manifest.version
        return BundleKey(origin.bundle, name, version, origin.file, origin.runtime, self.manifest.labels)

    def reference(self) -> "Reference | None":
        """With what its answers are compared (drift/monitor.py); None if the bundle has no reference. Raises BundleError.

        None for tiles too: the reference is of images as they were chosen, a picture's answer that of its strongest tile.
        """
        from limiar.edge_app.drift.reference import read_reference

        if self.model.tiles:
            return None
        found, rule = read_reference(self.bundle), self.model.rule
        return None if found is None else found.of(self.file.name, own_rule=rule == Rule(self.file.decision))

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
        threads = f", {self.model.threads} threads" if self.model.threads > 1 else ""
        what = f"{self.manifest.name} {self.manifest.version}, {origin.file} on {origin.runtime}{threads}"
        chosen = f", {self.profile.chosen}" if self.profile else ""
        chosen += f", tiles {self.model.tiling}" if self.model.tiling else ""
        return f"{what}, verified by {origin.verified}{chosen}; refer below {self.model.rule.decision.refer_below:g}"


def open_session(
    bundle: Path | str,
    *,
    file: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    workers: int = 1,
    refer_below: float | None = None,
    outside: OutsideRule = "refer",
    measure: bool = False,
    tiles: Tiling = None,
    keys: "Keys | None" = None,
) -> Session:
    """Opens a bundle and chooses a model file and a rule. Raises BundleError.

    If neither file nor runtime nor threads is given, they are those of this device's profile, if there is one for the bundle.
    If one of them is given, the profile is not used, since it was measured as a whole. workers: processes with so many threads.
    measure, tiles: as for Session.
    """
    opened = open_bundle(bundle, keys)
    profile = None
    if file is None and runtime is None and threads is None and (profile := _profile(opened)):
        file, runtime, threads = profile.file, profile.runtime, profile.threads_of(workers)
    return Session(
        opened,
        file=file,
        runtime=runtime,
        threads=threads or 1,
        refer_below=refer_below,
        outside=outside,
        profile=profile,
        measure=measure,
        tiles=tiles,
    )


def _profile(bundle: Bundle) -> "Profile | None":
    """This device's profile for a bundle, if its model file gives the expected answers here: a device must go on answering."""
    from limiar.edge_app.store.profile import load_profile, profile_path, warn_unused

    try:
        folder = state_folder()
    except StoreError:  # no home folder, and so no profile
        return None
    profile = load_profile(folder, bundle)
    if profile is None or (model := bundle.manifest.models[profile.file].model) is None:
        return None
    try:
        ensure_verified(bundle, model, profile.runtime, profile.runtime_version)
    except RuntimeUnavailable as error:
        warn_unused(profile_path(folder, bundle.sha256), error.message)
        return None
    return profile
