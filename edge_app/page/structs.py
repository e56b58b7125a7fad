"""What msgspec must know before threads use it."""

import contextlib

import msgspec
from msgspec import Struct


def learn(base: type[Struct] = Struct) -> None:
    """Has msgspec learn what each Struct that is loaded holds.

    Otherwise it does so when the first value is converted, and a second thread that converts one meanwhile follows a null
    pointer: the process ends with SIGSEGV (msgspec 0.22; seen in one of twenty cold starts of the page).
    """
    for kind in base.__subclasses__():
        with contextlib.suppress(NameError, TypeError):  # nothing is ever converted to it: its fields are not values
            msgspec.json.Decoder(kind)
        learn(kind)
