"""P6 on the real service: a bundle that fails gives way to the one before, and no image is lost or blamed for it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.control import AskReload, ask
from limiar.edge_app.install.install import install
from limiar.edge_app.install.slots import Slots
from running import REAL
from services import Service, noise
from updates import release

# The bundle with a label "worse" misbehaves in a worker, after its golden images passed in another process.
BAD = """
import limiar.edge_app.scan.pool, limiar.edge_app.scan.worker, limiar.edge_app.service.chosen
limiar.edge_app.service.chosen._START_S = 3.0
limiar.edge_app.scan.pool._IMAGE_S = 1.0
def misbehave():
    import os, time
    from limiar.edge_app.errors import RuntimeUnavailable
    what = {what!r}
    if what == "crash":
        os.abort()
    if what == "hang":
        time.sleep(3600)
    if what == "memory":
        raise MemoryError
    raise RuntimeUnavailable("E-RUNTIME-FINITE", "the model gave logits [nan, nan]: choose another --file or --runtime")
worker = limiar.edge_app.scan.worker
load, outcome = worker.load, worker._outcome
def bad_load(model):
    return misbehave() if "worse" in model.labels and {at!r} == "start" else load(model)
def bad_outcome(classifier, decoded, job):
    return misbehave() if "worse" in job.model.labels and {at!r} == "image" else outcome(classifier, decoded, job)
worker.load, worker._outcome = bad_load, bad_outcome
"""


def worse(path: Path, tiny: Bundle) -> Path:
    """Release 2, whose labels tell a worker of BAD to misbehave."""
    made = open_bundle(release(path.with_name("made"), tiny, 2))
    contents = {file.path: made.read(file.path) for file in made.manifest.files}
    write_bundle(path, msgspec.structs.replace(made.manifest, labels=("neg", "worse"), positive="worse"), contents)
    return path


@pytest.fixture
def device(tmp_path: Path, tiny_bundle: Bundle) -> Iterator[Service]:
    """A device with release 1, which is good."""
    service = Service(tmp_path / "device", "current")
    install(service.state, release(tmp_path / "one", tiny_bundle, 1))
    slots = Slots(service.state)
    slots.start()
    slots.good()
    with service:
        service.wait(lambda: started(service))
        yield service


def started(service: Service) -> list[str]:
    """The sha256 of the bundles that the service started with."""
    details = service.rows("SELECT detail FROM audit WHERE kind = 'start' ORDER BY id")
    return [msgspec.json.decode(str(detail))["bundle"] for (detail,) in details]


def kinds(service: Service) -> list[object]:
    return [kind for (kind,) in service.rows("SELECT kind FROM audit ORDER BY id")]


def put(service: Service, count: int, seed: int = 0) -> None:
    for k, data in enumerate(noise(count, seed)):
        service.put(f"{seed}-{k:03d}.png", data)


def test_a_new_bundle_answers_at_once_and_is_good_after_enough_scans(
    device: Service, tmp_path: Path, tiny_bundle: Bundle
) -> None:
    install(device.state, release(tmp_path / "two", tiny_bundle, 2))
    ask(device.state, AskReload())
    device.wait(lambda: len(started(device)) == 2)
    put(device, 19)
    device.wait(lambda: len(device.done()) == 19)
    assert "good" not in kinds(device)
    put(device, 1, seed=1)
    device.wait(lambda: "good" in kinds(device))
    status = Slots(device.state).status()
    assert (status.floor, status.current and status.current.good) == (2, True)


@pytest.mark.parametrize(
    ("at", "what"),
    [
        ("start", "crash"),
        ("start", "hang"),
        ("start", "memory"),
        ("start", "nan"),
        ("image", "crash"),
        ("image", "hang"),
        ("image", "nan"),
    ],
)
def test_a_bundle_that_fails_gives_way_to_the_one_before_and_its_image_is_answered(
    tmp_path: Path, tiny_bundle: Bundle, device: Service, at: str, what: str
) -> None:
    device.end()
    install(device.state, worse(tmp_path / "worse", tiny_bundle))
    device.script = BAD.format(at=at, what=what) + REAL
    put(device, 2)
    device.start()
    device.wait(lambda: len(device.done()) == 2, 60)
    assert device.quarantined() == {}
    assert "fall-back" in kinds(device)
    assert started(device)[-1] == started(device)[0]
    current = Slots(device.state).status().current
    assert current
    assert (current.release_counter, current.good) == (1, True)


def test_a_bundle_whose_starts_are_cut_three_times_gives_way(device: Service, tmp_path: Path, tiny_bundle: Bundle) -> None:
    device.end()
    install(device.state, worse(tmp_path / "worse", tiny_bundle))
    device.script = BAD.format(at="start", what="hang").replace("_START_S = 3.0", "_START_S = 60.0") + REAL
    for tries_left in (2, 1, 0):
        device.start()
        device.wait(lambda left=tries_left: next(s for s in Slots(device.state).status().slots if s.current).tries_left == left)
        device.kill()
    put(device, 1)
    device.start()
    device.wait(device.done, 30)
    assert started(device)[-1] == started(device)[0]
    assert "fall-back" in kinds(device)


def test_ends_in_order_are_no_failures_of_a_bundle_on_trial(device: Service, tmp_path: Path, tiny_bundle: Bundle) -> None:
    device.end()
    install(device.state, release(tmp_path / "two", tiny_bundle, 2))
    for number in range(2, 7):
        device.start()
        device.wait(lambda number=number: len(started(device)) == number)
        device.end()
    current = Slots(device.state).status().current
    assert current
    assert (current.release_counter, current.tries_left) == (2, 3)


def test_a_poison_image_on_trial_is_judged_by_the_bundle_before(device: Service, tmp_path: Path, tiny_bundle: Bundle) -> None:
    device.end()
    install(device.state, release(tmp_path / "two", tiny_bundle, 2))
    device.script = (
        BAD.format(at="image", what="crash").replace('"worse" in job.model.labels', 'b"poison" in decoded.image.path') + REAL
    )
    device.put("poison.png", noise(1)[0])
    device.start()
    device.wait(device.quarantined, 60)
    assert device.quarantined()["poison.png"]["code"] == "E-IMAGE-CRASH"
    assert started(device)[-1] == started(device)[0]
