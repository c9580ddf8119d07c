"""What people see when no app answers: a page with the number, and a sentence for each case."""

from html import escape
from typing import Any, Final

JSON = dict[str, Any]

NO_ROUTE: Final = "Nothing is served under this address."
NO_REPLICA: Final = "The app behind this address has no healthy replica right now. Try again soon."
NO_LOGIN: Final = "This address is for users who signed in, but no sign-in is set up here."
TROUBLE: Final = "The app behind this address did not answer as it should."

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{number}</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto }}
b {{ font-size: 3rem; font-weight: 300; color: #888 }}
</style>
<b>{number}</b>
<p>{sentence}</p>
</html>
"""


def page(number: int | str, sentence: str) -> JSON:
    """The handler that answers with a page; `number` may be one of Caddy's placeholders."""
    headers = {"Content-Type": ["text/html; charset=utf-8"], "Cache-Control": ["no-store"]}
    if number == 503:
        headers["Retry-After"] = ["1"]
    return {
        "handler": "static_response",
        "status_code": number,
        "headers": headers,
        "body": _PAGE.format(number=number, sentence=escape(sentence)),
    }
