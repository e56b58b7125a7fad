"""What only some machines have: a test that needs it skips where it is missing, and fails in CI, which installs it."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import pytest

_T = TypeVar("_T")


class Missing(Exception):
    """Something that tests need is not on this machine."""


@contextmanager
def needed(thing: AbstractContextManager[_T]) -> Iterator[_T]:
    """Enters it; if it raises Missing, the test ends with the reason."""
    try:
        entered = thing.__enter__()
    except Missing as missing:
        if "1" in (os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS"), os.environ.get("LIMIAR_REQUIRE_DATA")):
            pytest.fail(f"this machine lacks something: {missing}")
        pytest.skip(f"this machine lacks something: {missing}")
    try:
        yield entered
    finally:
        thing.__exit__(None, None, None)
