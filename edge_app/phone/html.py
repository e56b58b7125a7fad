"""index.html in both forms, with what its browser may load: nothing from elsewhere, and no script but the page's own."""

import base64
import hashlib
from collections.abc import Mapping

from limiar.edge_app.page.for_phones import POLICY
from limiar.edge_app.phone.build import APP_MANIFEST, ICON, WEB, Page, Part


def _one_file_policy(script: bytes, style: bytes) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            f"script-src {_source(script)} 'wasm-unsafe-eval'",
            f"style-src {_source(style)}",
            "img-src blob: data:",
            "connect-src 'none'",
            "worker-src blob:",
        )
    )


def folder_html(page: Page) -> bytes:
    """For a folder that is served: what it names lies beside it."""
    style, script = page.part("app.css"), page.part("app.js")
    links = (
        f'<link rel="stylesheet" href="{style.name}" integrity="{_integrity(style.data)}">',
        f'<link rel="manifest" href="{APP_MANIFEST}" crossorigin="use-credentials">',  # `limiar page` asks for a session
        f'<link rel="icon" href="{ICON.name}" type="image/svg+xml">',
        '<link rel="apple-touch-icon" href="icon-192.png">',
    )
    run = f'<script src="{script.name}" integrity="{_integrity(script.data)}"></script>'
    return _filled({"head": _head(page, POLICY), "links": "\n".join(links), "parts": "", "script": run})


def one_file_html(page: Page, embedded: Mapping[str, str]) -> bytes:
    """For one file with all parts within it. embedded: name -> base64."""
    style, script = page.part("app.css").data, page.part("app.js").data
    parts = (f'<script type="text/plain" data-part="{name}">{text}</script>' for name, text in embedded.items())
    links = (
        f"<style>{style.decode()}</style>",
        f'<link rel="icon" href="{_data_uri(page.part(ICON.name))}" type="image/svg+xml">',
    )
    return _filled(
        {
            "head": _head(page, _one_file_policy(script, style)),
            "links": "\n".join(links),
            "parts": "\n".join(parts),
            "script": f"<script>{script.decode()}</script>",
        }
    )


def _filled(values: Mapping[str, str]) -> bytes:
    """web/index.html with its {{places}} filled. Raises ValueError: a place is not there exactly once."""
    text = (WEB / "index.html").read_text(encoding="utf-8")
    for name in values:
        if text.count(f"{{{{{name}}}}}") != 1:
            raise ValueError(f"web/index.html does not have {{{{{name}}}}} once")
    for name, value in values.items():  # the largest last: it is not searched
        before, _, after = text.partition(f"{{{{{name}}}}}")
        text = before + value + after
    return text.encode()


def _head(page: Page, policy: str) -> str:
    return (
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="limiar-page" content="{page.listing.sha256}">'
    )


def _integrity(data: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode()}"


def _source(data: bytes) -> str:
    return f"'{_integrity(data)}'"


def _data_uri(part: Part) -> str:
    return f"data:{part.type};base64,{base64.b64encode(part.data).decode()}"
