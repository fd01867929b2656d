"""Forms: the fields of a POST, within bounds."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

MAX_FORM: Final = 256 * 1024  # bytes
MAX_FIELDS: Final = 500

Form = Mapping[str, tuple[str, ...]]
"""The fields, each with its values in their order."""


class FormError(Exception):
    """A form that is not read, with the status, the title and the advice of the page about it."""

    def __init__(self, status: int, title: str, advice: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.advice = advice


async def read_form(request: Request) -> Form:
    """Return the URL-encoded form in the body of a request.

    Raises FormError over MAX_FORM (256 KiB) or MAX_FIELDS (500), if a part is missing, or if it
    is not text.
    """
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM:
                advice = f"A form may have {MAX_FORM // 1024} KiB. Send less text."
                raise FormError(413, "This form is too large", advice)
    except ClientDisconnect:
        raise FormError(400, "This form is not complete", "Send it again.") from None
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError:
        advice = "It is not text, or has too many fields."
        raise FormError(400, "This form cannot be read", advice) from None
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        fields[name] = (*fields.get(name, ()), value)
    return fields


def text_of(form: Form, name: str) -> str:
    """Return the first value of a field, without blanks around it. Empty without one."""
    return form.get(name, ("",))[0].strip()
