"""The loop: augmentation, resumption, and what stops it."""

import shutil
from dataclasses import replace

import cv2
import keras
import msgspec
import numpy as np
import pytest

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import LimiarError, TrainError
from limiar.train.config import INPUT, RECIPES, Config, check_backend, configured, recipe_of, within
from limiar.train.data.augment import augmented
from limiar.train.data.feed import batches, class_weights, labelled
from limiar.train.dataset.image_store import InMemory
from limiar.train.fit.fit import RunState, prepare
from limiar.train.fit.unfinished import partial_folder
from limiar.train.record import run_folder
from limiar.train.record.run_folder import Epoch
from limiar.train.run.make_run import make_run


class Stopped(Exception):
    """A kill, as far as the loop can tell."""


def stop_after(number, silent):
    """A Listener that ends the process after an epoch."""

    def epoch(line: Epoch):
        if line.epoch == number:
            raise Stopped

    return replace(silent, epoch=epoch)


def weights_of(run):
    return keras.saving.load_model(run / "model.keras").get_weights()


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)


def test_the_same_seed_draws_the_same_augmentation(images):
    one, same, other = (augmented(images, np.random.default_rng(seed), Config()) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert (one.shape, one.dtype) == (images.shape, np.uint8)


def test_without_augmentation_the_pixels_stay(images):
    still = configured("limiar", ["flip=false", "rotate_deg=0", "shift_px=0", "zoom=0"])
    assert np.array_equal(augmented(images, np.random.default_rng(0), still), images)


def test_a_shift_alone_moves_by_no_more_than_it_says():
    dot = np.zeros((200, 41, 41, 1), np.uint8)
    dot[:, 19:22, 19:22] = 255
    config = configured("limiar", ["flip=false", "rotate_deg=0", "shift_px=3", "zoom=0"])
    moved = augmented(dot, np.random.default_rng(0), config)
    centres = np.array([[cv2.moments(image)["m10"], cv2.moments(image)["m01"]] for image in moved[..., 0]])
    offsets = centres / np.array([cv2.moments(image)["m00"] for image in moved[..., 0]])[:, None] - 20
    assert 2.5 < np.abs(offsets).max() <= 3.1  # bilinear steps of 1/32 px


def test_a_stretch_alone_keeps_the_area():
    dot = np.zeros((200, 41, 41, 1), np.uint8)
    dot[:, 16:25, 16:25] = 255
    config = configured("limiar", ["flip=false", "rotate_deg=0", "shift_px=0", "zoom=0", "stretch=0.15"])
    stretched = augmented(dot, np.random.default_rng(0), config)
    areas = stretched.sum(axis=(1, 2, 3)) / 255
    assert areas == pytest.approx(81, rel=0.06)  # bilinear steps of 1/32 px along an edge of 36 px
    widths = stretched[:, 20, :, 0].astype(int).sum(axis=1) / 255
    assert widths.min() < 9 < widths.max()
    assert 9 * np.exp(-0.15) - 0.5 < widths.min()
    assert widths.max() < 9 * np.exp(0.15) + 0.5


@pytest.mark.parametrize("change", ["brightness=20", "contrast=0.3", "noise=10"])
def test_other_light_and_noise_leave_a_grey_image_grey(change):
    grey = np.repeat(np.random.default_rng(1).integers(60, 200, (8, 40, 40, 1), dtype=np.uint8), 3, axis=3)
    still = ["flip=false", "rotate_deg=0", "shift_px=0", "zoom=0"]
    lit = augmented(grey, np.random.default_rng(0), configured("limiar", [*still, change]))
    assert (lit != grey).any(axis=(1, 2, 3)).all()
    assert (lit == lit[..., :1]).all()


@pytest.mark.parametrize(
    ("height", "width", "changes", "count"),
    [
        (20, 20, (), 8),
        (20, 24, (), 4),  # a quarter turn would not fit
        (21, 20, (), 4),
        (20, 20, ("flip=false",), 4),
        (20, 20, ("rotate_deg=100",), 6),  # with flips a half turn is out of reach
        (20, 20, ("rotate_deg=80",), 2),
    ],
)
def test_a_sharp_epoch_flips_turns_by_quarters_and_shifts_by_whole_pixels(height, width, changes, count):
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    config = configured("reference", ["shift_px=2", *changes])
    found = set()
    for seen in augmented(np.repeat(image[None], 200, axis=0), np.random.default_rng(0), config, sharp=True):
        turned = [np.rot90(one, turn) for one in (seen, seen[:, ::-1]) for turn in range(4)]
        inner = [one[4:-4, 4:-4].tobytes() for one in turned]
        shifted = {image[y : y + height - 8, x : x + width - 8].tobytes(): (y, x) for y in range(2, 7) for x in range(2, 7)}
        way = [(k, shifted[part]) for k, part in enumerate(inner) if part in shifted]
        assert len(way) == 1
        found.add(way[0])
    assert {turn for turn, _ in found} <= set(range(8))
    assert len({turn for turn, _ in found}) == count
    assert len({shift for _, shift in found}) == 25


def test_only_the_last_epochs_are_sharp():
    config = configured("limiar", ["epochs=5", "sharp_epochs=2"])
    assert [config.sharp(epoch) for epoch in range(1, 6)] == [False, False, False, True, True]
    assert not any(Config().sharp(epoch) for epoch in (1, Config().epochs))


def test_the_feed_gives_a_sharp_epoch_sharp_images():
    store = InMemory(8, InputSpec(height=8, width=8, channels=1))
    for row, image in enumerate(np.random.default_rng(0).choice([0, 255], (8, 8, 8, 1)).astype(np.uint8)):
        store.put(row, b"", image)  # only interpolation makes greys
    examples = labelled(store, np.arange(8), np.arange(8) % 2, 2)
    config = configured("limiar", ["epochs=2", "sharp_epochs=1", "batch=8"])
    greys = [np.isin(images, (0, 255), invert=True).any() for n in (1, 2) for images, _, _ in batches(examples, config, 0, n)]
    assert greys == [True, False]


def test_a_smoothed_target_keeps_its_label_and_its_sum():
    truth = np.array([0, 2, 1])
    targets = labelled(InMemory(3, INPUT), np.arange(3), truth, 3, smoothing=0.1).targets
    assert targets.argmax(axis=1).tolist() == truth.tolist()
    assert targets.sum(axis=1) == pytest.approx(1.0)
    assert targets.max(axis=1) == pytest.approx(0.9 + 0.1 / 3)


def test_class_weights_make_the_classes_weigh_the_same():
    truth = np.repeat([0, 1, 2], [10, 30, 60])
    weights = class_weights(truth, 3)[truth]
    assert weights.mean() == pytest.approx(1.0)
    assert [weights[truth == k].sum() for k in range(3)] == pytest.approx([100 / 3] * 3)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(tmp_path, request_for, silent, small_run):
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        make_run(request_for(out, "epochs=3"), stop_after(1, silent))
    assert not out.exists()
    seen, notes = [], []
    progress = replace(silent, epoch=lambda line: seen.append(line.epoch), note=notes.append)
    run = make_run(replace(request_for(out, "epochs=3"), resume=True), progress)
    assert seen == [2, 3]
    assert any(note.startswith("resuming after epoch 1 of at most 3") for note in notes)
    assert run.epochs == 3
    assert not partial_folder(out).exists()
    for name in (run_folder.MODEL, run_folder.PREDICTIONS, run_folder.HISTORY):
        assert (out / name).read_bytes() == (small_run / name).read_bytes()


def test_resume_without_anything_to_go_on_from_is_refused(tmp_path, request_for, silent):
    with pytest.raises(TrainError) as refused:
        make_run(replace(request_for(tmp_path / "run"), resume=True), silent)
    assert refused.value.code == "E-TRAIN-NOTHING"
    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_finished_run_is_done_and_leaves_it_alone(small_run, request_for, silent):
    before = {path.name: path.read_bytes() for path in small_run.iterdir()}
    partial_folder(small_run).mkdir()  # left by a kill right before the end
    run = make_run(replace(request_for(small_run, "epochs=3"), resume=True), silent)
    assert run == run_folder.read_run(small_run)
    assert {path.name: path.read_bytes() for path in small_run.iterdir()} == before
    assert not partial_folder(small_run).exists()
    with pytest.raises(TrainError) as refused:
        make_run(replace(request_for(small_run, "epochs=4"), resume=True), silent)
    assert refused.value.code == "E-TRAIN-OUT"


def test_resume_of_a_finished_run_takes_no_other_command_for_its_own(small_run, tmp_path, phantom_folder, request_for, silent):
    fewer = tmp_path / "fewer"
    shutil.copytree(phantom_folder, fewer)
    next(fewer.glob("*_pos.png")).unlink()
    asked = replace(request_for(small_run, "epochs=3"), resume=True)
    small = request_for(small_run, "epochs=3", "memory_mb=0.01").config  # an unfinished run would keep its images on the disk
    for other in (replace(asked, folder=fewer), replace(asked, positive="neg"), replace(asked, model="lenet")):
        with pytest.raises(TrainError) as refused:
            make_run(replace(other, config=small), silent)
        assert refused.value.code == "E-TRAIN-OUT"
        assert not partial_folder(small_run).exists()
    told = request_for(small_run, "epochs=3", "memory_mb=500").config
    assert make_run(replace(asked, config=told), silent) == run_folder.read_run(small_run)


def test_resume_of_a_run_made_before_a_number_existed_takes_that_numbers_default(small_run, tmp_path, request_for, silent):
    out = tmp_path / "run"
    shutil.copytree(small_run, out)
    run = run_folder.read_run(out)
    older = {name: value for name, value in run.config.items() if name not in ("smoothing", "sharp_epochs")}
    (out / run_folder.RECORD).write_bytes(run_folder.record_json(msgspec.structs.replace(run, config=older)))
    assert make_run(replace(request_for(out, "epochs=3"), resume=True), silent).config == older
    with pytest.raises(TrainError) as refused:
        make_run(replace(request_for(out, "epochs=3", "smoothing=0.1"), resume=True), silent)
    assert refused.value.code == "E-TRAIN-OUT"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file/run", "Not a directory"),
        ("file/deeper/run", "Not a directory"),
        ("r" * 256, "File name too long"),
        ("r" * 250, "File name too long"),  # with .partial
    ],
)
def test_an_out_that_cannot_be_made_is_refused(tmp_path, request_for, silent, name, why, resume):
    (tmp_path / "file").write_text("")
    unread = replace(silent, image=lambda done, total: pytest.fail("an image was read"))
    with pytest.raises(TrainError) as refused:
        make_run(replace(request_for(tmp_path / name), resume=resume), unread)
    assert refused.value.code == "E-TRAIN-OUT"
    assert why in refused.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_out_that_is_a_link_to_nothing_is_refused_before_it_trains(tmp_path, request_for, silent):
    (tmp_path / "run").symlink_to("gone")
    unread = replace(silent, image=lambda done, total: pytest.fail("an image was read"))
    with pytest.raises(TrainError) as refused:
        make_run(request_for(tmp_path / "run"), unread)
    assert refused.value.code == "E-TRAIN-OUT"


def test_an_interrupted_run_is_not_gone_on_with_as_another_one(unfinished, request_for, silent):
    out = unfinished
    for asked, field in [
        (request_for(out, model="lenet"), "model"),
        (request_for(out, "rate=0.001"), "rate"),
        (request_for(out, seed=1), "data_sha256"),  # the splits are drawn from it
        (request_for(out, recipe="course"), "recipe"),
    ]:
        with pytest.raises(TrainError) as refused:
            make_run(asked, silent)
        assert refused.value.code == "E-TRAIN-RESUME"
        assert f"with another {field}: " in refused.value.message


def test_an_interrupted_run_with_other_labels_or_image_rules_is_refused(unfinished, request_for, silent):
    out = unfinished
    path = partial_folder(out) / "state.json"
    state = msgspec.json.decode(path.read_bytes(), type=RunState)
    others = {"labels": ("pos", "neg"), "resize": "bicubic-v1", "decode": "cv2", "height": 50, "channels": 1}
    for field, other in others.items():
        identity = msgspec.structs.replace(state.identity, **{field: other})
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(state, identity=identity)))
        with pytest.raises(TrainError) as refused:
            make_run(request_for(out), silent)
        assert refused.value.code == "E-TRAIN-RESUME"
        assert f"with another {field}: " in refused.value.message


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_nothing(tmp_path, request_for, silent):
    out = tmp_path / "run"
    with pytest.raises(TrainError) as refused:
        make_run(request_for(out, "rate=1e30", "rate_end=1e30"), silent)
    assert refused.value.code == "E-TRAIN-NAN"
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_gives_one_class_is_refused(tmp_path, request_for, silent):
    out = tmp_path / "run"
    with pytest.raises(TrainError) as refused:
        make_run(request_for(out, "epochs=1", "rate=1e-12", "rate_end=0", model="lenet"), silent)
    assert refused.value.code == "E-TRAIN-ONE-CLASS"
    assert "what was trained was removed" in refused.value.message
    assert list(tmp_path.iterdir()) == []


def test_early_stopping_keeps_the_best_epoch(tmp_path, request_for, silent):
    run = make_run(request_for(tmp_path / "run", "epochs=8", "patience=1", "rate=0.02", "rate_end=0.02"), silent)
    assert run.epochs == min(8, run.best_epoch + 1)


def test_an_unknown_key_of_the_config_is_refused():
    with pytest.raises(TrainError) as refused:
        configured("limiar", ["rates=1"])
    assert refused.value.code == "E-TRAIN-CONFIG"
    assert "rates" in refused.value.message


@pytest.mark.parametrize(
    "change",
    [
        "epochs=0",
        "epochs=many",
        "flip=perhaps",
        "dropout=1.5",
        "rate",
        "val_share=0.8",
        "rate=inf",
        "weight_decay=nan",
        "memory_mb=1e999",
    ],
)
def test_a_value_of_the_config_that_cannot_be_is_refused(change):
    with pytest.raises(TrainError) as refused:
        configured("limiar", [change])
    assert refused.value.code == "E-TRAIN-CONFIG"


@pytest.mark.parametrize("epochs", [20, 65])
def test_a_recipe_of_which_only_sharp_epochs_are_left_is_refused(epochs):
    with pytest.raises(TrainError) as refused:
        configured("reference", [f"epochs={epochs}", f"sharp_epochs={epochs}"])
    assert refused.value.code == "E-TRAIN-CONFIG"
    assert f"sharp_epochs={epochs // 5}" in refused.value.message
    assert configured("reference", [f"epochs={epochs}", f"sharp_epochs={epochs // 5}"]).epochs == epochs


@pytest.mark.parametrize("recipe", ["standard", "reference"])
@pytest.mark.parametrize("epochs", [1, 4, 20, 65, 600])
def test_another_number_of_epochs_takes_its_share_of_sharp_ones_along(recipe, epochs):
    config = configured(recipe, [f"epochs={epochs}"])
    assert (config.epochs, config.sharp_epochs, config.images) == (epochs, 65 * epochs // 300, 0)
    assert configured(recipe, ["sharp_epochs=0", f"epochs={epochs}"]).sharp_epochs == 0


@pytest.mark.parametrize(("images", "epochs"), [(180, 300), (4_443, 300), (20_000, 75), (1_000_000, 20)])
def test_of_more_images_the_plain_recipe_has_fewer_epochs_so_that_it_ends_in_time(images, epochs):
    config = within(RECIPES["standard"], images)
    assert (config.epochs, config.sharp_epochs) == (epochs, 65 * epochs // 300)
    assert within(RECIPES["reference"], images) == RECIPES["reference"]


def test_the_plain_recipe_is_the_best_one_but_for_its_time_and_caution():
    standard, reference = RECIPES["standard"], RECIPES["reference"]
    assert msgspec.structs.replace(standard, images=0, caution=0.0) == reference
    assert (recipe_of(None, False, None), recipe_of(None, True, None), recipe_of(None, False, "lenet")) == (
        "standard",
        "limiar",
        "limiar",
    )
    assert recipe_of("course", False, "lenet") == "course"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("epochs=abc", "epochs=abc is not a whole number from 1 to 100000"),
        ("epochs=2.5", "epochs=2.5 is not a whole number"),
        ("epochs=0", "epochs=0 is not a whole number from 1"),
        ("rate=fast", "rate=fast is not a number above 0"),
        ("rate=inf", "rate=inf is not a number"),
        ("dropout=1", "dropout=1 is not a number from 0 to below 1"),
        ("rotate_deg=181", "rotate_deg=181 is not a number from 0 to 180"),
        ("memory_mb=-1", "memory_mb=-1 is not a number from 0 up"),
        ("flip=perhaps", "flip=perhaps is not true or false"),
        ("precision=half", "precision=half is not one of auto,"),
        ("epoch=5", "did you mean epochs?"),
        ("drop_out=0.1", "did you mean dropout?"),
        ("rate", "give --set rate=VALUE"),
        ("epochs=\x1b[31m", r"epochs=\x1b[31m is not"),
    ],
)
def test_what_set_refuses_is_said_in_words(change, said):
    with pytest.raises(TrainError) as refused:
        configured("standard", [change])
    assert said in refused.value.message
    assert "$" not in refused.value.message
    assert "Expected" not in refused.value.message


def test_the_recipes_differ_where_the_course_does():
    course = RECIPES["course"]
    assert (course.patience, course.balance, course.calibrate, course.test_share) == (0, False, False, 0.25)


def test_many_networks_in_one_process_are_traced_without_a_warning(caplog):
    tensorflow = pytest.importorskip("tensorflow")
    prepare(0, Config())
    for width in range(1, 9):
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(width)])
        for images in (1, 2):
            network.predict_on_batch(np.zeros((images, 1)))
    tensorflow.get_logger().warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]


@pytest.mark.parametrize("backend", ["torch", "foo"])
def test_a_backend_that_limiar_is_not_tried_with_is_refused(monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(TrainError) as refused:
        check_backend()
    assert refused.value.code == "E-TRAIN-BACKEND"


def test_jax_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("limiar.train.config.find_spec", lambda name: None)
    with pytest.raises(LimiarError) as refused:
        check_backend()
    assert refused.value.code == "E-INSTALL-MISSING"
