"""What a network is fitted to, and how it gets there: batches made by threads while the last one is computed."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.train.config import Config
from limiar.train.data.augment import augmented
from limiar.train.dataset.image_store import ImageStore

THREADS = min(8, len(os.sched_getaffinity(0)))  # reading and warping leave Python's lock
WEIGHT_LIMIT = 10.0  # of an image against the mean: with more, two images of a rare class would outweigh their whole batch
AHEAD = 2 * THREADS  # batches that wait in memory

Batch = tuple[Pixels, NDArray[np.float32], NDArray[np.float32]]  # images, targets, weights


@dataclass(frozen=True)
class Examples:
    """Some images of a store with what the network is to answer."""

    images: ImageStore
    rows: NDArray[np.int64]  # [N], of the store
    targets: NDArray[np.float32]  # [N, K], the probability of each class: a label is 1 at its own
    weights: NDArray[np.float32]  # [N], of each image in the loss; mean 1


def labelled(
    images: ImageStore,
    rows: NDArray[np.int64],
    truth: NDArray[np.int64],
    classes: int,
    balance: bool = False,
    smoothing: float = 0.0,
) -> Examples:
    """Examples with their labels as targets.

    truth: int [N], of `rows`; balance: weigh every class the same; smoothing: the share of a target that all classes share
    (Szegedy et al., Rethinking the Inception Architecture, 2016, section 7).
    """
    weights = class_weights(truth, classes) if balance else np.ones(classes, np.float32)
    targets = (1 - smoothing) * np.eye(classes) + smoothing / classes
    return Examples(images, rows, targets.astype(np.float32)[truth], weights[truth])


def class_weights(truth: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """[classes]: such that every class weighs the same, a very rare one less, and the mean over images is 1."""
    counts = np.bincount(truth, minlength=classes)
    weights = np.minimum(len(truth) / (classes * counts), WEIGHT_LIMIT)
    return np.asarray(weights * len(truth) / (weights * counts).sum(), np.float32)


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order [count] in which an epoch takes its examples."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batch_rng(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """The random numbers of a batch's augmentation. batch: from 0 in its epoch."""
    # From 1: to numpy, [seed, epoch, 0] and [seed, epoch] are the same seed.
    return np.random.default_rng([seed, epoch, batch + 1])


def batches(examples: Examples, config: Config, seed: int, epoch: int) -> Iterator[Batch]:
    """An epoch, shuffled and augmented. Randomness comes from (seed, epoch, batch), whatever the threads do."""
    order = shuffled(len(examples.rows), seed, epoch)

    def made(batch: int) -> Batch:
        own = order[batch * config.batch : (batch + 1) * config.batch]
        images = augmented(examples.images.take(examples.rows[own]), batch_rng(seed, epoch, batch), config, config.sharp(epoch))
        return images, examples.targets[own], examples.weights[own]

    with ThreadPoolExecutor(THREADS, "feed") as pool:
        waiting: deque[Future[Batch]] = deque()
        for batch in range(-(-len(order) // config.batch)):
            waiting.append(pool.submit(made, batch))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
