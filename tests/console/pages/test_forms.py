"""Forms that are refused before a page sees them."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from authz.console.pages.forms import MAX_FORM, FormError, read_form


def _request(*messages: MutableMapping[str, Any]) -> Request:
    left = list(messages)

    async def receive() -> MutableMapping[str, Any]:
        return left.pop(0)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_a_browser_that_leaves() -> None:
    """A form whose rest does not arrive is refused, and is no fault of the server."""
    part = {"type": "http.request", "body": b"a=1", "more_body": True}
    with pytest.raises(FormError) as caught:
        await read_form(_request(part, {"type": "http.disconnect"}))
    assert caught.value.status == 400


async def test_a_form_has_a_bound() -> None:
    """A form that is too large is refused before its end is read."""
    part = {"type": "http.request", "body": b"a" * (MAX_FORM + 1), "more_body": True}
    with pytest.raises(FormError) as caught:
        await read_form(_request(part))
    assert caught.value.status == 413
