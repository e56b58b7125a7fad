"""What `limiar sweep` varies: `--vary KEY=LOW..HIGH` or `--vary KEY=A,B,C`. Imports neither Keras nor Optuna."""

from collections.abc import Sequence
from dataclasses import dataclass

from limiar.edge_app.errors import TrainError, printable
from limiar.train.config import SPLITS, Config, changed

# By default: what matters most for any network, around the recipes' values.
DEFAULT = ("rate=3e-4..1e-2", "weight_decay=1e-5..1e-2", "dropout=0..0.5", "batch=32,64,128")
LOG_FACTOR = 10  # a range that spans as much is drawn by its logarithm: as many trials from 0.0001 to 0.001 as to 0.01
DIGITS = 4  # of a drawn number: further ones make no visible difference, and the command should be readable
# With other SPLITS the losses of two trials would not be comparable; sharp_epochs cannot be varied along with epochs; the
# others change nothing that is learnt.
FIXED = (*SPLITS, "calibrate", "caution", "images", "memory_mb", "sharp_epochs")


@dataclass(frozen=True)
class Varied:
    """A number of the recipe and what it may be: one of `choices`, or else from `low` to `high`."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False  # whole numbers only

    @property
    def log(self) -> bool:
        """Whether it is drawn by its logarithm."""
        return self.low > 0 and self.high / self.low >= LOG_FACTOR


def parse(given: Sequence[str], config: Config) -> tuple[Varied, ...]:
    """Reads --vary. Raises TrainError: an unknown key, a value that `config` cannot take, an empty range, a key twice."""
    found = tuple(_parsed(text, config) for text in given or DEFAULT)
    keys = [varied.key for varied in found]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise TrainError("E-SWEEP-VARY", f"--vary names {twice[0]} more than once: give it one range")
    return found


def setting(key: str, value: str | float | int) -> str:
    """As --set takes it."""
    return f"{key}={value:.{DIGITS}g}" if isinstance(value, float) else f"{key}={value}"


def _parsed(text: str, config: Config) -> Varied:
    key, _, range_ = text.partition("=")
    low, dots, high = range_.partition("..")
    if key in FIXED:
        raise TrainError("E-SWEEP-VARY", f"--vary {printable(text)}: {key} is the same for all trials: give it with --set")
    ends = (low, high) if dots else tuple(range_.split(","))
    default = getattr(Config(), key, None)
    for end in ends:
        try:
            changed(config, [f"{key}={end}"])
            if dots and isinstance(default, float):
                changed(config, [setting(key, float(end))])  # rounded as what is drawn is: 0.99999 becomes 1
        except TrainError as error:
            met = f"--vary {printable(text)}: {error.message.removeprefix('--set: ').removeprefix('--set ')}"
            raise TrainError("E-SWEEP-VARY", met) from None
    if not dots:
        return Varied(key, choices=ends)
    if isinstance(default, bool | str):
        raise TrainError("E-SWEEP-VARY", f"--vary {printable(text)}: {key} has no range: give values, like {key}={low},{high}")
    if not float(low) < float(high):
        raise TrainError("E-SWEEP-VARY", f"--vary {printable(text)}: {printable(low)} is not below {printable(high)}")
    return Varied(key, low=float(low), high=float(high), whole=isinstance(default, int))
