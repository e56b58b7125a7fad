"""A process that decodes images for training, one after the other, within a limit of memory.

`python -c 'from limiar.train.dataset.reader import main; main(FD, PARENT)'`, started by reading.py: a plain process, since a
fork of one in which TensorFlow's threads hold locks may hang.
"""

import contextlib
import hashlib
import os
import resource
import signal
from multiprocessing.connection import Connection

import cv2
import msgspec

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import check_assessable, model_input
from limiar.edge_app.system.children import end_with_parent
from limiar.edge_app.system.limits import SIZE, taken_bytes
from limiar.train.dataset.dicom_facts import facts_of
from limiar.train.dataset.reading import Decoded, Item, Outcome, ReadJob, RefusedImage


def main(descriptor: int, parent: int) -> None:
    """Reads the items that come through the descriptor until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the parent decides
    end_with_parent(parent)
    cv2.setNumThreads(0)  # each thread's arena would count as memory; there is a process for each core
    connection = Connection(descriptor)
    tasks = msgspec.msgpack.Decoder(list[Item])
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        job = msgspec.msgpack.decode(connection.recv_bytes(), type=ReadJob)
        _limit_memory(job.memory_bytes)
        connection.send_bytes(b"ready")
        while True:
            for item in tasks.decode(connection.recv_bytes()):
                connection.send_bytes(msgspec.msgpack.encode(_outcome(item, job)))


def _outcome(item: Item, job: ReadJob) -> Outcome:
    try:
        data = read_file(item.path)
        digest = hashlib.sha256(data).digest()
        if digest == item.known:
            return Decoded(item.row, digest, len(data), (), None, facts_of(data, job.key))
        picture = decode(data, os.fsdecode(item.name), job.input)
        tensor = model_input(picture, job.input)
        check_assessable(picture, tensor)
        dicom = facts_of(data, job.key)
    except ImageError as error:
        return RefusedImage(item.row, error.code, error.message)
    except MemoryError:
        return RefusedImage(item.row, "E-IMAGE-MEMORY", f"takes over {job.memory_bytes >> 20} MB to decode: make it smaller")
    return Decoded(item.row, digest, len(data), picture.shape, tensor[0].tobytes(), dicom)


def _limit_memory(beyond: int) -> None:
    """Allows `beyond` bytes more than this process takes after its imports."""
    limit = taken_bytes(SIZE) + beyond
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
