"""Session: the visitor of a page, and the port that finds it."""

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from authz.core.access import Caller


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor whose credential was checked for this request.

    csrf_token: for every form that changes something. label: the visitor's name in the page header.
    expires_at: the end of the session, in ms since the epoch.
    """

    caller: Caller
    csrf_token: str
    label: str
    expires_at: int


class Sessions(Protocol):
    """Finds the session of a request. It fails closed."""

    async def find(self, request: Request) -> Session | Response:
        """Return the session, or the response to a visitor without one."""
        ...

    def refuses(self, request: Request, session: Session, token: str) -> str:
        """Return the reason why this request may not change anything, or empty text.

        token: the CSRF token that came with the form, empty without one.
        """
        ...

    def keep(self, request: Request, response: Response) -> None:
        """Add to the response what keeps the session alive. No-op if there is nothing to add."""
        ...
