"""Where a form leads: to a view of this page, whatever was asked for."""

import re

from flask import request, url_for

_OWN = re.compile(r"/(?![/\\])[!-\[\]-~]{0,1000}\Z")  # a path of this page: "//host" and "/\host" would lead elsewhere


def back() -> str:
    """The path that the form named as `next`; the live view if it named none of this page."""
    wanted = request.form.get("next", "")
    return wanted if _OWN.match(wanted) else url_for("live.show")
