"""The numbers of an axis."""

import math


def ticks(low: float, high: float) -> list[float]:
    """At most five round values inside the axis."""
    unit = 10.0 ** math.floor(math.log10(high - low))  # the axis is 1 to 10 units long
    step = next(unit * size for size in (0.5, 1, 2, 5) if (high - low) / (unit * size) <= 4)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """The powers of ten inside the axis, with more values between them on a shorter axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    sizes = (1,) if high / low > 3000 else (1, 3) if high / low > 30 else (1, 2, 5)
    return [tick for power in powers for size in sizes if low <= (tick := size * 10.0**power) <= high]
