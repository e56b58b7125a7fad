"""The way into the modules, which the other tests lean on."""

import pytest

from phone_modules import JsError, Modules


def test_an_error_of_a_module_has_its_code(modules: Modules) -> None:
    with pytest.raises(JsError) as refused:
        modules.call("/errors.js", "nothing")
    assert refused.value.kind == "TypeError"
