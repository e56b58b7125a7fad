"""An epoch on the accelerator: images are there as uint8 and augmented there, many steps in one compiled call. JAX alone.

It draws what data/feed.py draws and steps as `model.fit` does, so the weights are the same but for rounding. With several
devices, of this host or of several (hosts.py), each computes its share of every batch on the same weights: XLA sums
gradients, and batch norm's statistics, over all of them.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from limiar.edge_app.errors import TrainError
from limiar.edge_app.system.machine import available_mb
from limiar.train.config import Config
from limiar.train.data.augment import draw
from limiar.train.data.feed import Examples, batch_rng, shuffled

SHARE = 0.5  # of the device's free memory that images may take; activations need the rest
CHUNK_MB = 256  # of images that do not fit: sent in parts of this size while the part before is computed

Variables = list[jax.Array]
State = tuple[Variables, Variables, Variables]  # trained, other (batch norm, dropout's seeds), the optimizer's
Batches = tuple[NDArray[Any], ...]  # rows, targets, weights, maps and, if asked for, light and the seeds of its noise


class DeviceEpochs:
    """Trains `model`, epoch by epoch, on all devices that JAX sees.

    keep: put the images on each device once; None: if they fit. Raises TrainError if a batch cannot be divided.
    """

    def __init__(self, model: keras.Model, examples: Examples, config: Config, seed: int, keep: bool | None = None) -> None:
        self._model, self._examples, self._config, self._seed = model, examples, config, seed
        devices = jax.devices()
        if config.batch % len(devices):
            near = max(1, round(config.batch / len(devices))) * len(devices)
            met = f"a batch of {config.batch} cannot be divided among {len(devices)} devices"
            raise TrainError("E-TRAIN-BATCH", f"{met}: give --set batch={near}")
        mesh = Mesh(np.array(devices), ("images",))
        self._everywhere = NamedSharding(mesh, PartitionSpec())  # type: ignore[no-untyped-call]
        self._divided = NamedSharding(mesh, PartitionSpec(None, "images"))  # type: ignore[no-untyped-call]  # of [steps, batch, ...]
        model.optimizer.build(model.trainable_variables)
        self._variables = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        values = [[self._placed(np.asarray(v), self._everywhere) for v in some] for some in self._variables]
        self.state: State = (values[0], values[1], values[2])
        self.steps = jax.jit(self._scan, out_shardings=self._everywhere)
        self._image = examples.images.take(examples.rows[:1])[0]
        total = self._image.nbytes * len(examples.rows)
        keep = total <= SHARE * _free_bytes() if keep is None else keep
        self._images = self._placed(examples.images.take(examples.rows), self._everywhere) if keep else None
        self._next: tuple[int, list[Batches]] = (0, [])

    def train(self, epoch: int) -> tuple[float, float]:
        """One epoch, counted from 1: (mean loss, accuracy) over its images. The model has the new weights."""
        # fit() has seeded its dropout.
        other = [self._placed(np.asarray(v), self._everywhere) for v in self._model.non_trainable_variables]
        self.state = (self.state[0], other, self.state[2])
        # Calls return before they are computed, so the host prepares the next one in the meantime.
        measured = []
        for images, batches in self.calls(epoch):
            self.state, sums = self.steps(self.state, images, batches)
            measured.append(sums)
        self._next = (epoch + 1, self._drawn(epoch + 1))
        for variables, values in zip(self._variables, self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(jnp.copy(value.addressable_data(0)))  # a copy: Keras's predict donates its buffers
        loss, right = np.sum([np.asarray(sums, np.float64) for sums in measured], axis=0) / len(self._examples.rows)
        return float(loss), float(right)

    def calls(self, epoch: int) -> Iterator[tuple[jax.Array, list[jax.Array]]]:
        """What `steps` takes besides the state, on the device: images, and batches of rows and of what is done to them."""
        for images, chunk in self._fed(self._next[1] if self._next[0] == epoch else self._drawn(epoch)):
            whole = chunk[0].shape[1] == self._config.batch  # the last, smaller batch need not be divisible
            yield images, [self._placed(array, self._divided if whole else self._everywhere) for array in chunk]

    def _fed(self, chunks: list[Batches]) -> Iterator[tuple[jax.Array, Batches]]:
        """Each chunk with the images that its row numbers count in."""
        for rows, *rest in chunks:
            if self._images is not None:
                yield self._images, (rows, *rest)
            else:
                images = self._placed(self._examples.images.take(self._examples.rows[rows.ravel()]), self._everywhere)
                yield images, (np.arange(rows.size).reshape(rows.shape), *rest)

    def _drawn(self, epoch: int) -> list[Batches]:
        """An epoch's order, targets, weights and maps as [steps, batch, ...], in chunks; a last, smaller batch is a chunk."""
        order, batch = shuffled(len(self._examples.rows), self._seed, epoch), self._config.batch
        whole = len(order) // batch
        split = np.split(order[: whole * batch].reshape(whole, batch), range(self._at_once(whole), whole, self._at_once(whole)))
        chunks = [*split, order[None, whole * batch :]]
        firsts = accumulate(map(len, chunks), initial=0)
        return [self._batches(rows, first, epoch) for rows, first in zip(chunks, firsts, strict=False) if rows.size]

    def _at_once(self, steps: int) -> int:
        """Steps of one call."""
        if jax.default_backend() == "cpu":
            return 1  # XLA computes convolutions inside a loop 20 times as slowly there
        return (
            max(1, steps) if self._images is not None else max(1, (CHUNK_MB << 20) // (self._image.nbytes * self._config.batch))
        )

    def _batches(self, rows: NDArray[np.int64], first: int, epoch: int) -> Batches:
        height, width, _ = self._image.shape
        rngs = (batch_rng(self._seed, epoch, first + k) for k in range(len(rows)))
        columns = [self._examples.targets[rows], self._examples.weights[rows]]
        sharp = self._config.sharp(epoch)
        drawn = [(draw(rows.shape[1], height, width, rng, self._config, sharp), rng) for rng in rngs]
        columns.append(np.stack([inverse(one.maps) for one, _ in drawn]))
        lights = [one.light for one, _ in drawn if one.light is not None]
        if lights:
            columns.append(np.stack(lights))
            columns.append(np.stack([rng.integers(0, 2**31, rows.shape[1], dtype=np.int32) for _, rng in drawn]))
        return rows, *columns

    def _scan(self, state: State, images: jax.Array, batches: list[jax.Array]) -> tuple[State, jax.Array]:
        """Steps through [steps, batch, ...]; the sums of (loss, right answers) over the images."""
        if len(batches[0]) == 1:
            return self._step(state, images, [array[0] for array in batches])
        state, sums = jax.lax.scan(lambda s, batch: self._step(s, images, batch), state, batches)
        return state, sums.sum(axis=0)

    def _step(self, state: State, images: jax.Array, batch: list[jax.Array]) -> tuple[State, jax.Array]:
        """What JAX's `model.fit` does with a batch, without its metrics."""
        (rows, targets, weights, maps, *light), (trained, other, optimizer), model = batch, state, self._model
        pixels = warped(images[rows], maps)
        pixels = lit(pixels, *light) if light else pixels

        def scaled_loss(trained: Variables) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Variables]]:
            logits, changed = model.stateless_call(trained, other, pixels, training=True)
            loss = model.loss(targets, logits, sample_weight=weights)
            with keras.StatelessScope(list(zip(model.optimizer.variables, optimizer, strict=True))):
                scaled = model.optimizer.scale_loss(loss)  # float16's gradients would be 0 otherwise
            return scaled, (loss, logits, changed)

        (_, (loss, logits, other)), gradients = jax.value_and_grad(scaled_loss, has_aux=True)(trained)
        trained, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trained)
        right = (logits.argmax(axis=1) == targets.argmax(axis=1)).sum()
        return (trained, other, optimizer), jnp.stack([loss * len(rows), right.astype(loss.dtype)])

    @staticmethod
    def _placed(array: NDArray[Any], sharding: NamedSharding) -> jax.Array:
        """On the devices of every host; each host has the whole array and puts what its own devices need."""
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def inverse(maps: NDArray[np.float64]) -> NDArray[np.float32]:
    """[N, 2, 3]: where a pixel comes from, for maps that say where it goes to."""
    linear = np.linalg.inv(maps[..., :2])
    return np.concatenate([linear, -linear @ maps[..., 2:]], axis=2).astype(np.float32)


def warped(images: jax.Array, maps: jax.Array) -> jax.Array:
    """uint8 [N, H, W, C] -> float32 whole numbers: bilinear, edges reflected without their own pixel, as cv2.warpAffine does.

    maps: [N, 2, 3], inverse. (keras.ops.image.affine_transform has this reflection on no backend but JAX, and there it
    interpolates over channels too.)
    """
    count, height, width, channels = images.shape
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    at = jnp.einsum("nij,jhw->nihw", maps, jnp.stack([x, y, jnp.ones_like(x)]), precision="highest")
    low = jnp.floor(at)
    right, down = jnp.moveaxis(at - low, 1, 0)[..., None]  # 0..1
    flat = images.reshape(count, height * width, channels)

    def pixel(dx: int, dy: int) -> jax.Array:
        column, row = _reflected(low[:, 0] + dx, width), _reflected(low[:, 1] + dy, height)
        place = (row * width + column).reshape(count, -1, 1)
        return jnp.take_along_axis(flat, place, axis=1).reshape(images.shape).astype(jnp.float32)

    upper = pixel(0, 0) * (1 - right) + pixel(1, 0) * right
    lower = pixel(0, 1) * (1 - right) + pixel(1, 1) * right
    return jnp.round(upper * (1 - down) + lower * down)


def lit(pixels: jax.Array, light: jax.Array, seeds: jax.Array) -> jax.Array:
    """As data/augment.py does, with other noise of the same distribution: the host's would be larger than the images."""
    gain, offset, deviation = jnp.moveaxis(light, 1, 0)[..., None, None, None]
    grain = jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), (*pixels.shape[1:3], 1)))(seeds)
    return jnp.clip(jnp.round(pixels * gain + offset + deviation * grain), 0, 255)


def _reflected(place: jax.Array, size: int) -> jax.Array:
    """…2 1 0 1 2…: into 0..size-1."""
    period = max(1, 2 * (size - 1))
    within = place.astype(jnp.int32) % period
    return jnp.minimum(within, period - within)


def _free_bytes() -> float:
    """Free memory of this host's fullest device; of the machine if a device does not say (a CPU)."""
    told = [device.memory_stats() for device in jax.local_devices()]
    if all(told):
        return float(min(stats["bytes_limit"] - stats["bytes_in_use"] for stats in told))
    return float(available_mb() << 20)
