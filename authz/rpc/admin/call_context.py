"""CallContext: the caller of one call, and everything else that a method may know about it."""

from dataclasses import dataclass
from typing import Final

from authz.core.access import Caller, Credentials

MAX_SOURCE: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call of an authenticated caller.

    source: address and user agent, for the audit trail. call_id: of this call, in the log and the
    response. began, deadline: by `Clock.monotonic`; no deadline: the client gave none.
    """

    caller: Caller
    source: str = ""
    call_id: str = ""
    deadline: float | None = None
    began: float = 0.0


def source_of(credentials: Credentials) -> str:
    """Return address and user agent in printable ASCII, at most MAX_SOURCE (200) characters.

    `unix` stands for an empty address. Other characters are escaped as in a Python literal.
    """
    text = f"{credentials.peer or 'unix'} {credentials.user_agent}".strip()
    return ascii(text)[1:-1][:MAX_SOURCE]
