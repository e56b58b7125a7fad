"""A worker process: paths in, outcomes out.

In a scan, untrusted files are opened, decoded and inferred only here, so a file that crashes or hangs a decoder costs a worker
and not the scan. A worker never opens the database: it asks its parent which images already have an answer.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import check_name
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.inference.classifier import Classifier, load
from limiar.edge_app.inference.model import Ready
from limiar.edge_app.scan.messages import Answered, Batch, Job, Known, Outcome, Outcomes, Refused, Reply, Task
from limiar.edge_app.system.channel import WorkerEnd

_BATCH_BYTES = 4 << 20  # of files held at once; a larger file is a batch of its own
_QUIET_S = 0.1  # at most, plus one image, between two messages: so the parent sees that work continues


class _Image(Struct, frozen=True):
    path: bytes
    sha256: bytes
    content: bytes | ImageError


def work(parent: WorkerEnd) -> None:
    """The life of a worker; it ends when the parent closes its end."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(parent)


def _serve(parent: WorkerEnd) -> None:
    job = msgspec.msgpack.decode(parent.receive(), type=Job)
    classifier = load(job.model)
    _send(parent, Ready(classifier.runtime.name, classifier.runtime.version))
    tasks, replies = msgspec.msgpack.Decoder(Task), msgspec.msgpack.Decoder(Known)
    while True:
        for batch in _batches(tasks.decode(parent.receive()).paths, job.follow):
            _send(parent, Batch([image.sha256 for image in batch]))
            known = replies.decode(parent.receive())
            outcomes: list[Outcome] = []
            sent_at = time.monotonic()
            for image, answer in zip(batch, known.answers, strict=True):
                outcomes.append(_outcome(classifier, image, answer, job))
                if time.monotonic() - sent_at > _QUIET_S:
                    _send(parent, Outcomes(outcomes))
                    outcomes, sent_at = [], time.monotonic()
            if outcomes:
                _send(parent, Outcomes(outcomes))


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


def _outcome(classifier: Classifier, image: _Image, known: Answer | None, job: Job) -> Outcome:
    try:
        if isinstance(image.content, ImageError):
            raise image.content
        if known is not None and job.annotate is None:
            check_name(image.content, os.fsdecode(image.path))
            return Answered(image.sha256, known, stored=True)
        started = time.perf_counter()
        picture = decode(image.content, os.fsdecode(image.path), job.model.input.grey_max)
        answer = known or classifier.answer(picture, decode_s=time.perf_counter() - started)
        if job.annotate is not None:
            from limiar.edge_app.output.annotate import annotate  # 10 ms that a plain scan does not need

            # A stored answer may have been decided by another rule.
            decision = job.model.rule.decide(answer.label, answer.confidence, answer.outside)
            decided = msgspec.structs.replace(answer, decision=decision)
            annotate(picture.pixels(), decided, image.path, image.sha256, Path(job.annotate))
    except ImageError as error:
        return Refused(image.sha256, error.code, error.message)
    except MemoryError:
        os._exit(1)  # treated like an image that crashes its decoder
    return Answered(image.sha256, answer, stored=known is not None)


def _send(parent: WorkerEnd, reply: Reply) -> None:
    parent.send(msgspec.msgpack.encode(reply))
