"""The whole way of an image, from its file to its answer in the store, with a clock between the stages."""

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Sequence

from limiar.edge_app.arrays import ClassMap, Logits, Pixels
from limiar.edge_app.bundle.manifest import Manifest, ModelFile
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.runtimes import Runtime
from limiar.edge_app.store.writer import Store

# read: the file, and its sha256. decode: to pixels. resize: to the model's input, with all checks of it. invoke: the logits,
# with the copies of input and output. decide: softmax, rule, answer. store: a row, and a commit, as a camera's frame has.
STAGES = ("read", "decode", "resize", "invoke", "decide", "store")


class Pipeline:
    """Answers images one after another, each from its file, as a scan does, and keeps them in a store."""

    def __init__(
        self, manifest: Manifest, model: ModelFile, runtime: Runtime, store: Store | None, paths: Sequence[str]
    ) -> None:
        """store: with the bundle in use; None: that stage is left out.

        paths: of images that the image rules accept; they are answered in turn.
        """
        self._watched = _Watched(runtime)
        self._classifier = Classifier(
            self._watched, manifest.labels, manifest.input, model.decision, manifest.envelope, "ignore"
        )
        self._spec = manifest.input
        self._store = store
        self._following = itertools.cycle([os.fsencode(path) for path in paths]).__next__

    def block(self, count: int) -> list[tuple[int, ...]]:
        """The nanoseconds of each of STAGES, for each of `count` images, after one that counts for nothing."""
        self.answer(self._following())
        return [self.answer(self._following()) for _ in range(count)]

    def call(self) -> Callable[[], object]:
        """A call that answers the next image."""
        return lambda: self.answer(self._following())

    def answer(self, path: bytes) -> tuple[int, ...]:
        """One image. Returns the nanoseconds of each of STAGES. Raises ImageError, RuntimeUnavailable and StoreError."""
        clock = time.perf_counter_ns
        began = clock()
        data = read_file(path, follow=True)
        sha256 = hashlib.sha256(data).digest()
        read = clock()
        picture = decode(data, os.fsdecode(path), self._spec)
        decoded = clock()
        answer = self._classifier.answer(picture, decode_s=(decoded - read) / 1e9)
        decided = clock()
        given, got = self._watched.given_ns, self._watched.got_ns
        before = (read - began, decoded - read, given - decoded, got - given, decided - got)
        if self._store is None:
            return before
        self._store.add(sha256, path, answer)
        self._store.commit()
        return *before, clock() - decided


class _Watched:
    """A runtime that notes when it was given an image, and when it gave the logits."""

    def __init__(self, runtime: Runtime) -> None:
        self.name, self.version, self.kernels = runtime.name, runtime.version, runtime.kernels
        self.invoker = runtime.invoker
        self._runtime = runtime
        self.given_ns = self.got_ns = 0

    def logits(self, image: Pixels) -> Logits:
        self.given_ns = time.perf_counter_ns()
        found = self._runtime.logits(image)
        self.got_ns = time.perf_counter_ns()
        return found

    def logits_and_map(self, image: Pixels) -> tuple[Logits, ClassMap | None]:
        return self._runtime.logits_and_map(image)
