"""What a test needs of the machine."""

import os
import shutil

import pytest


def need_root(*programs: str) -> None:
    """These tests mount, or become another user."""
    missing = "root" if os.geteuid() else next((program for program in programs if not shutil.which(program)), None)
    if missing:
        if os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") == "1":
            pytest.fail(f"LIMIAR_REQUIRE_ROOT_TESTS=1, but {missing} is not here")
        pytest.skip(f"needs {missing}")
