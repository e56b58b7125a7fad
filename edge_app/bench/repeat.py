"""One repeat process: it measures all variants, which take turns. `limiar bench` runs several, one after another.

    python -m limiar.edge_app.bench.repeat PARENT < PLAN

PARENT is the process that started it, with which it ends. stdin is a Plan as JSON. stdout is lines of JSON: Progress, and at
the end Measured. stderr says why there is none.
"""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bench.bare import open_bare, same_model
from limiar.edge_app.bench.loops import Unit, WarmUp, by_stage, closed_loop, open_loop, unit, warm_up
from limiar.edge_app.bench.pipeline import STAGES, Pipeline
from limiar.edge_app.bench.plan import Plan
from limiar.edge_app.bench.result import Unread, Variant
from limiar.edge_app.bench.sample import sample_png
from limiar.edge_app.bench.yardstick import yardstick
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import ImageError, LimiarError, printable
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import check_assessable, model_input
from limiar.edge_app.runtimes import Runtime, open_runtime
from limiar.edge_app.store.writer import BundleKey, Store
from limiar.edge_app.system.children import end_with_parent

_TELL_EVERY_S = 0.2


class Progress(Struct, frozen=True, tag=True):
    """How far it is."""

    what: str
    done: int
    total: int


class Taken(Struct, frozen=True):
    """Nanoseconds of one variant, by round."""

    invoke: list[list[int]]
    stages: dict[str, list[list[int]]]
    warm_up: WarmUp
    arrivals: list[int]  # of the open loop
    late: int


class Measured(Struct, frozen=True, tag=True):
    """What one repeat process measured."""

    taken: list[Taken]  # in the order of the plan's variants
    yardstick: list[list[int]]
    images: int
    unread: list[Unread]
    filled: str = ""  # the inputs of a model file without a bundle
    notes: list[str] = []  # what its figures rest on


Message = Progress | Measured


def main(parent: str) -> None:
    end_with_parent(int(parent))
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    if plan.bare:
        _send(_measure_bare(plan))
        return
    bundle = open_bundle(plan.bundle)
    if bundle.sha256 != plan.sha256:
        sys.exit("another bundle is there now")
    with Store(Path(plan.store)) if plan.store else contextlib.nullcontext() as store:
        _send(_measure(plan, bundle, store))


def _measure(plan: Plan, bundle: Bundle, store: Store | None) -> Measured:
    random = Random(plan.seed)  # noqa: S311  # an order, not a secret
    tensors, paths, unread = _readable(plan.images or (_sample(),), bundle.manifest.input)
    if not tensors:
        sys.exit(f"{unread[0].path}: {unread[0].message}" if unread else "no images")
    runtimes = {one: open_runtime(one.runtime, bundle.model(one.file)[1], one.threads) for one in plan.variants}
    key = BundleKey(bundle.sha256, bundle.manifest.name, bundle.manifest.version, "", "", bundle.manifest.labels)
    if store:
        store.use(key, "no")
    pipelines = {
        one: Pipeline(bundle.manifest, bundle.model(one.file)[0], runtime, store, paths) for one, runtime in runtimes.items()
    }
    units: dict[tuple[Variant | None, str], Unit] = {
        **{(one, "invoke"): unit(functools.partial(_next, runtime, tensors, random)) for one, runtime in runtimes.items()},
        **{(one, "stages"): pipelines[one].block for one in plan.variants},
        (None, "yardstick"): unit(yardstick),
    }
    warm = warm_up(units)
    rounds = closed_loop(units, plan.count, random, plan.seconds, _Teller())
    taken = []
    for variant in plan.variants:
        arrivals, late = _arrivals(plan, pipelines[variant])
        stages = by_stage(rounds[variant, "stages"], STAGES if store else STAGES[:-1])
        invoke = by_stage(rounds[variant, "invoke"], ["invoke"])["invoke"]
        taken.append(Taken(invoke, stages, warm[variant, "invoke"], arrivals, late))
    return Measured(taken, by_stage(rounds[None, "yardstick"], ["yardstick"])["yardstick"], len(tensors), unread)


def _measure_bare(plan: Plan) -> Measured:
    """The model file of the plan, without a bundle."""
    format, data = same_model(plan.bundle, plan.sha256)
    bares = {one: open_bare(format, data, one.runtime, one.threads) for one in plan.variants}
    units: dict[Variant | None, Unit] = {one: unit(functools.partial(getattr, bare, "invoke")) for one, bare in bares.items()}
    units[None] = unit(yardstick)
    warm = warm_up(units)
    random = Random(plan.seed)  # noqa: S311  # an order, not a secret
    rounds = {
        key: by_stage(found, ["call"])["call"]
        for key, found in closed_loop(units, plan.count, random, plan.seconds, _Teller()).items()
    }
    first = bares[plan.variants[0]]
    taken = [Taken(rounds[one], {}, warm[one], [], 0) for one in plan.variants]
    return Measured(taken, rounds[None], len(first.inputs), [], first.filled, first.notes)


def _next(runtime: Runtime, tensors: list[Pixels], random: Random) -> Callable[[], object]:
    return runtime.invoker(random.choice(tensors))


def _sample() -> str:
    """The sample as a file in memory: all disks may be read-only."""
    file = os.memfd_create("sample")
    os.write(file, sample_png())
    return f"/proc/self/fd/{file}"


def _arrivals(plan: Plan, pipeline: Pipeline) -> tuple[list[int], int]:
    if plan.rate_hz is None:
        return [], 0
    _Teller()(f"images at {plan.rate_hz:g} Hz", 0, plan.arrivals)
    found = open_loop(pipeline.call(), plan.rate_hz, plan.arrivals)
    return found.taken, found.late


def _readable(images: tuple[str, ...], spec: InputSpec) -> tuple[list[Pixels], list[str], list[Unread]]:
    """The model inputs of the images that the image rules accept, their paths, and the others."""
    tensors, paths, unread = list[Pixels](), list[str](), list[Unread]()
    for path in images:
        try:
            picture = decode(read_file(path, follow=True), path, spec)
            tensor = model_input(picture, spec)
            check_assessable(picture, tensor)
        except ImageError as error:
            unread.append(Unread(printable(path), str(error)))
        else:
            tensors.append(tensor)
            paths.append(path)
    return tensors, paths, unread


class _Teller:
    """Tells the parent how far it is, not too often."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _TELL_EVERY_S
            _send(Progress(what, done, total))


def _send(message: Message) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
