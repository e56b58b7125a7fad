"""The two places where a data set's images are kept, and what happens to an incomplete file."""

import os
import resource

import numpy as np
import pytest

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError
from limiar.train.dataset.image_store import InMemory, OnDisk

SPEC = InputSpec(height=6, width=5, channels=3)
DIGESTS = [bytes([k]) * 32 for k in range(4)]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


def fill(store, images):
    with store:
        for k, image in enumerate(images):
            store.put(k, DIGESTS[k], image)
    return store


@pytest.mark.parametrize("keep", [lambda folder: InMemory(4, SPEC), lambda folder: OnDisk(folder, 4, SPEC)])
def test_a_store_gives_the_images_in_the_order_asked_for(tmp_path, images, keep):
    store = fill(keep(tmp_path), images)
    rows = np.array([3, 0, 3, 1])
    assert len(store) == 4
    assert np.array_equal(store.take(rows), images[rows])
    assert store.take(np.array([], np.int64)).shape == (0, 6, 5, 3)


def test_what_an_earlier_run_left_is_found_as_far_as_the_files_are_the_same(tmp_path, images):
    fill(OnDisk(tmp_path, 4, SPEC), images)
    with OnDisk(tmp_path, 4, SPEC) as store:
        assert store.digest(2) == DIGESTS[2]
        assert np.array_equal(store.take(np.array([2]))[0], images[2])
        store.put(2, DIGESTS[3], images[3])
    store = OnDisk(tmp_path, 4, SPEC)
    assert store.digest(2) == DIGESTS[3]
    assert np.array_equal(store.take(np.array([2]))[0], images[3])


@pytest.mark.parametrize(
    ("count", "spec"),
    [(3, SPEC), (4, InputSpec(height=5, width=6, channels=3)), (4, InputSpec(height=6, width=5, channels=3, resize="other"))],
)
def test_images_of_another_form_number_or_rule_are_not_found(tmp_path, images, count, spec):
    fill(OnDisk(tmp_path, 4, SPEC), images)
    with OnDisk(tmp_path, count, spec) as store:
        assert store.digest(0) == b""


def test_a_file_that_was_not_finished_leaves_nothing(tmp_path, images):
    folder = tmp_path / "run.partial"

    def stop_in_the_middle():
        with OnDisk(folder, 4, SPEC) as store:
            store.put(0, DIGESTS[0], images[0])
            assert len(list(folder.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_in_the_middle()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_kill_left_unfinished_is_begun_again(tmp_path, images):
    store = OnDisk(tmp_path, 4, SPEC).__enter__()
    store.put(0, DIGESTS[0], images[0])
    with OnDisk(tmp_path, 4, SPEC) as again:
        assert again.digest(0) == b""
    assert [path.name for path in tmp_path.iterdir()] == [again.path.name]


def test_a_full_disk_is_said_before_an_image_is_read(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(DataError, match=r"E-DATA-STORE.*free some"), OnDisk(tmp_path / "run.partial", 4, SPEC):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_short_is_refused(tmp_path, images):
    store = fill(OnDisk(tmp_path, 4, SPEC), images)
    os.truncate(store.path, store.path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"E-DATA-STORE.*cut short"):
        store.take(np.array([3]))
