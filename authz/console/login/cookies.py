"""Cookies of the console: HttpOnly, for the whole site, and never for another host."""

from typing import Literal

from starlette.requests import HTTPConnection
from starlette.responses import Response

from authz.console.login.site_address import SiteAddress

Purpose = Literal["session", "login"]


class Cookies:
    """Reads and sets the cookies of one site."""

    def __init__(self, site: SiteAddress) -> None:
        self._site = site

    def read(self, request: HTTPConnection, purpose: Purpose) -> str:
        """Return the value of a cookie; empty without it."""
        return request.cookies.get(self._name(request, purpose), "")

    def set(
        self, request: HTTPConnection, response: Response, purpose: Purpose, value: str
    ) -> None:
        """Add a cookie to the response. It ends with the browser; its seal has the real end.

        `session` is SameSite=Strict. `login` is Lax, because the identity provider sends the
        browser back from another site.
        """
        response.set_cookie(
            self._name(request, purpose),
            value,
            path="/",
            secure=self._site.is_secure,
            httponly=True,
            samesite="strict" if purpose == "session" else "lax",
        )

    def remove(self, request: HTTPConnection, response: Response, purpose: Purpose) -> None:
        """Tell the browser to forget a cookie."""
        response.delete_cookie(
            self._name(request, purpose), path="/", secure=self._site.is_secure, httponly=True
        )

    def _name(self, request: HTTPConnection, purpose: Purpose) -> str:
        return self._site.cookie_name(request.headers.get("host", ""), purpose)
