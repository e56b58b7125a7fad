"""The page checks a bundle's signature as `limiar verify` does, where the browser can."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.signature import public_half, sign
from phone_modules import JsError, Modules

MANIFEST = b'{"schema": 1}'
KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
OWN, FOREIGN = (public_half(key).raw.hex() for key in (KEY, OTHER))
SIGNED = sign(MANIFEST, KEY)


def check(modules: Modules, manifest: bytes, signature: bytes | None, *keys: str) -> str | None:
    """What is said, or the code of the refusal."""
    (found,) = modules.each("/start/signature.js", "checkSignature", [(manifest, signature, list(keys))])
    return found.code if isinstance(found, JsError) else str(found)


@pytest.mark.parametrize("keys", [(OWN,), (FOREIGN, OWN)])
def test_the_key_that_signed_is_named_by_its_fingerprint(modules: Modules, keys: tuple[str, ...]) -> None:
    assert check(modules, MANIFEST, SIGNED, *keys) == f"signed by {public_half(KEY).fingerprint[:12]}"


@pytest.mark.parametrize(
    ("manifest", "signature", "keys", "code"),
    [
        (MANIFEST, None, [OWN], "E-BUNDLE-SIGNATURE-MISSING"),
        (MANIFEST, SIGNED[:-1], [OWN], "E-BUNDLE-SIGNATURE-SIZE"),
        (MANIFEST, SIGNED, [FOREIGN], "E-BUNDLE-SIGNATURE-WRONG"),
        (MANIFEST + b" ", SIGNED, [OWN], "E-BUNDLE-SIGNATURE-WRONG"),
        (MANIFEST, bytes([SIGNED[0] ^ 1]) + SIGNED[1:], [OWN], "E-BUNDLE-SIGNATURE-WRONG"),
        (MANIFEST, KEY.sign(MANIFEST), [OWN], "E-BUNDLE-SIGNATURE-WRONG"),  # signed for something else
        (MANIFEST, SIGNED, ["ff" * 32], "E-BUNDLE-SIGNATURE-WRONG"),  # not a point of the curve
    ],
)
def test_with_a_key_only_its_signature_opens_the_bundle(
    modules: Modules, manifest: bytes, signature: bytes | None, keys: list[str], code: str
) -> None:
    assert check(modules, manifest, signature, *keys) == code


def test_without_a_key_it_says_that_nothing_was_checked(modules: Modules) -> None:
    assert check(modules, MANIFEST, SIGNED) == "not checked"
    assert check(modules, MANIFEST, None) == "not signed"


def test_a_browser_without_ed25519_says_so_and_a_missing_signature_is_refused_all_the_same(modules: Modules) -> None:
    taken = """() => {
      globalThis.kept = SubtleCrypto.prototype.importKey;
      SubtleCrypto.prototype.importKey = async () => { throw new DOMException("no Ed25519", "NotSupportedError"); };
    }"""
    modules.page.evaluate(taken)
    try:
        assert check(modules, MANIFEST, SIGNED, OWN) == "not checked"
        assert check(modules, MANIFEST, None, OWN) == "E-BUNDLE-SIGNATURE-MISSING"
    finally:
        modules.page.evaluate("() => { SubtleCrypto.prototype.importKey = globalThis.kept; delete globalThis.kept; }")
