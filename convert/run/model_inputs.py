"""Everything that Keras and each model file answer, in one order."""

from typing import Literal

import msgspec
import numpy as np

from limiar.convert.run.dataset import Split
from limiar.convert.run.golden_images import GoldenFile
from limiar.edge_app.arrays import Pixels

Part = Literal["val", "test", "golden", "swapped"]


class Images(msgspec.Struct, frozen=True):
    """The images of both splits and the golden images."""

    val: Split
    test: Split
    golden: list[GoldenFile]

    @property
    def tensors(self) -> Pixels:
        """uint8 [N, H, W, C]: val, test, golden, swapped."""
        return np.concatenate([self.val.tensors, self.test.tensors, *(file.tensor for file in self.golden), self.swapped])

    @property
    def coloured(self) -> np.ndarray:
        """bool [golden]: the golden images whose red and blue differ."""
        return np.array([bool((file.tensor[..., 0] != file.tensor[..., -1]).any()) for file in self.golden])

    @property
    def swapped(self) -> Pixels:
        """uint8 [M, H, W, C]: the coloured golden images with red and blue swapped."""
        golden = np.concatenate([file.tensor for file in self.golden])
        return np.ascontiguousarray(golden[self.coloured][..., ::-1])

    def parts(self, logits: np.ndarray) -> dict[Part, np.ndarray]:
        """[N, K], as `tensors` is ordered -> the rows of "val", "test", "golden" and "swapped"."""
        ends = np.cumsum([len(self.val.labels), len(self.test.labels), len(self.golden)])
        val, test, golden, swapped = np.split(logits, ends)
        return {"val": val, "test": test, "golden": golden, "swapped": swapped}

    def colour_change(self, logits: np.ndarray) -> np.ndarray:
        """[N, K], as `tensors` is ordered -> float64 [M, K]: what red and blue in each other's place change in the logits."""
        parts = self.parts(logits)
        change: np.ndarray = parts["golden"][self.coloured].astype(np.float64) - parts["swapped"]
        return change
