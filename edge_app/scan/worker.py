"""A worker process: paths in, outcomes out.

In a scan, untrusted files are opened, decoded and inferred only here, so a file that crashes or hangs a decoder costs a worker
and not the scan. A worker never opens the database: it asks its parent which images already have an answer.
"""

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import check_name, is_dicom
from limiar.edge_app.image.containers.container import Container
from limiar.edge_app.image.read import Picture, decode, decode_opened, opened, read_file
from limiar.edge_app.inference.classifier import Classifier, load
from limiar.edge_app.inference.model import Ready
from limiar.edge_app.inference.tiled import TiledClassifier, answering
from limiar.edge_app.scan.messages import Answered, Batch, Frames, Job, Known, Outcome, Outcomes, Refused, Reply, Task
from limiar.edge_app.system.channel import WorkerEnd

_BATCH_BYTES = 4 << 20  # of files held at once; a larger file is a batch of its own
_QUIET_S = 0.1  # at most, plus one image, between two messages: so the parent sees that work continues
# Small images are decoded a few at a time and then answered, so that the code of the decoders and that of the runtime do not
# push each other out of the processor's caches: 107 us for a CT patch became 94.
_GROUP = 32  # images
_GROUP_PX = 1 << 20  # of all pictures that are held at once, but for the last one


class _Image(Struct, frozen=True):
    path: bytes
    sha256: bytes
    content: bytes | ImageError


class _Decoded(Struct, frozen=True):
    image: _Image
    known: list[Answer]  # the store's
    picture: Picture | ImageError | Container | None  # None: not needed, since there is an answer; a container: has many
    decode_s: float

    @property
    def pixels(self) -> int:
        return math.prod(self.picture.shape[:2]) if isinstance(self.picture, Picture) else 0


def work(parent: WorkerEnd) -> None:
    """The life of a worker; it ends when the parent closes its end."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(parent)


def _serve(parent: WorkerEnd) -> None:
    job = msgspec.msgpack.decode(parent.receive(), type=Job)
    loaded = load(job.model)
    alive = _alive(parent)
    classifier = answering(job.model, loaded, alive)
    _send(parent, Ready(loaded.runtime.name, loaded.runtime.version))
    tasks, replies = msgspec.msgpack.Decoder(Task), msgspec.msgpack.Decoder(Known)
    while True:
        for batch in _batches(tasks.decode(parent.receive()).paths, job.follow):
            _send(parent, Batch([image.sha256 for image in batch]))
            known = replies.decode(parent.receive())
            for outcomes in _outcomes(classifier, _decoded(batch, known.answers, job), job, alive):
                _send(parent, Outcomes(outcomes))


def _alive(parent: WorkerEnd) -> Callable[[], None]:
    """Tells the parent, if it has heard nothing for a while, that an image of many tiles or frames is still worked on."""
    said = time.monotonic()

    def say() -> None:
        nonlocal said
        if time.monotonic() - said > _QUIET_S:
            _send(parent, Outcomes([]))
            said = time.monotonic()

    return say


def _batches(paths: list[bytes], follow: bool) -> Iterator[list[_Image]]:
    batch: list[_Image] = []
    size, started = 0, time.monotonic()
    for path in paths:
        image = _read(path, follow)
        length = 0 if isinstance(image.content, ImageError) else len(image.content)
        if batch and (size + length > _BATCH_BYTES or time.monotonic() - started > _QUIET_S):
            yield batch
            batch, size, started = [], 0, time.monotonic()
        batch.append(image)
        size += length
    yield batch


def _read(path: bytes, follow: bool) -> _Image:
    try:
        content = read_file(path, follow)
    except ImageError as error:
        return _Image(path, b"", error)
    return _Image(path, hashlib.sha256(content).digest(), content)


def _decoded(batch: list[_Image], answers: list[list[Answer]], job: Job) -> Iterator[list[_Decoded]]:
    """The images of a batch in groups, in order; a large image, or one that takes long, ends a group."""
    group: list[_Decoded] = []
    pixels, started = 0, time.monotonic()
    for image, known in zip(batch, answers, strict=True):
        group.append(_decode(image, known, job))
        pixels += group[-1].pixels
        if len(group) == _GROUP or pixels > _GROUP_PX or time.monotonic() - started > _QUIET_S:
            yield group
            group, pixels, started = [], 0, time.monotonic()
    yield group


def _decode(image: _Image, known: list[Answer], job: Job) -> _Decoded:
    if isinstance(image.content, ImageError):
        return _Decoded(image, known, image.content, 0.0)
    started = time.perf_counter()
    picture: Picture | ImageError | Container | None = None
    try:
        if known and known[0].frame is None and not job.draws:
            check_name(image.content, os.fsdecode(image.path))
        else:
            picture = decode(image.content, os.fsdecode(image.path), job.model.input, plain_uids=job.plain_uids)
    except ImageError as error:
        many = error.code == "E-IMAGE-FRAMES" and is_dicom(image.content)
        picture = opened(image.content, spec=job.model.input) if many else error
    except MemoryError:
        _crash()
    return _Decoded(image, known, picture, time.perf_counter() - started)


def _outcomes(
    classifier: Classifier | TiledClassifier, groups: Iterable[list[_Decoded]], job: Job, alive: Callable[[], None]
) -> Iterator[list[Outcome]]:
    """What becomes of decoded images, in order; what there is after _QUIET_S."""
    outcomes: list[Outcome] = []
    since = time.monotonic()
    for group in groups:
        group.reverse()
        while group:  # nothing else holds a picture: the next group may begin with another large one
            decoded = group.pop()
            many = isinstance(decoded.picture, Container)
            outcomes.append(_frames(classifier, decoded, job, alive) if many else _outcome(classifier, decoded, job))
            if time.monotonic() - since > _QUIET_S:
                yield outcomes
                outcomes, since = [], time.monotonic()
    if outcomes:
        yield outcomes


def _frames(classifier: Classifier | TiledClassifier, decoded: _Decoded, job: Job, alive: Callable[[], None]) -> Frames:
    """What becomes of each frame: decoded, answered and dropped, one after the other."""
    image, container = decoded.image, decoded.picture
    assert isinstance(container, Container)
    assert isinstance(image.content, bytes)
    known = {answer.frame: answer for answer in decoded.known}
    found: list[Answered | Refused] = []
    for number in range(container.frames):
        earlier = [known[number + 1]] if number + 1 in known else []
        started = time.perf_counter()
        picture: Picture | ImageError | None = None
        try:
            if not earlier or job.draws:
                picture = decode_opened(image.content, container, job.model.input, number, plain_uids=job.plain_uids)
        except ImageError as error:
            picture = error
        except MemoryError:
            _crash()
        found.append(_outcome(classifier, _Decoded(image, earlier, picture, time.perf_counter() - started), job))
        alive()
    return Frames(image.sha256, found)


def _outcome(classifier: Classifier | TiledClassifier, decoded: _Decoded, job: Job) -> Answered | Refused:
    image, picture = decoded.image, decoded.picture
    known = decoded.known[0] if decoded.known else None
    try:
        if isinstance(picture, ImageError):
            raise picture
        if picture is None:
            assert known
            return Answered(image.sha256, known, stored=True)
        assert isinstance(picture, Picture)
        answer = known or classifier.answer(picture, decoded.decode_s)
        if job.draws:
            from limiar.edge_app.output.annotate import annotate, draw_map  # 10 ms that a plain scan does not need

            # A stored answer may have been decided by another rule.
            decided, pixels = job.model.rule.decided(answer), picture.pixels()
            if job.annotate is not None:
                annotate(pixels, decided, image.path, image.sha256, Path(job.annotate))
            if job.maps is not None:
                draw_map(pixels, decided, image.path, image.sha256, Path(job.maps))
    except ImageError as error:
        return Refused(image.sha256, error.code, error.message)
    except MemoryError:
        _crash()
    return Answered(image.sha256, answer, stored=known is not None)


def _crash() -> NoReturn:
    """Ends the process: memory that is lacking is treated like an image that crashes its decoder."""
    os._exit(1)


def _send(parent: WorkerEnd, reply: Reply) -> None:
    parent.send(msgspec.msgpack.encode(reply))
