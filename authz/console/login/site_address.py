"""SiteAddress: the origin of the console as browsers see it, and the requests that come from it."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_HOST: Final = re.compile(r"(localhost|127\.[0-9.]{5,11}|\[::1\])(?::([0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SiteAddress:
    """The origin. public: `admin.console.url`; empty: http on loopback, by any name of it.

    A page on another name that resolves to this machine has no origin here (DNS rebinding).
    """

    public: str = ""

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the console by https."""
        return self.public.startswith("https:")

    def origin(self, host: str) -> str | None:
        """Return the origin that a request with this Host header is for; None: not ours."""
        if self.public:
            parts = urlsplit(self.public)
            return f"{parts.scheme}://{parts.netloc}" if host.lower() == parts.netloc else None
        match = _HOST.fullmatch(host.lower())
        if match is None or not _is_loopback(match[1]):
            return None
        return f"http://{host.lower()}"

    def is_own_form(self, host: str, origin: str, fetch_site: str) -> bool:
        """Return whether a POST comes from a page of ours.

        fetch_site: the header Sec-Fetch-Site, which every current browser sends to https and to
        loopback. Then Origin may be `null`: under `Referrer-Policy: no-referrer` browsers send that
        with a form (Fetch standard, "append a request Origin header"). Without it Origin has to be
        right.
        """
        own = self.origin(host)
        if own is None:
            return False
        if fetch_site:
            return fetch_site == "same-origin" and origin in {"", "null", own}
        return origin == own

    def cookie_name(self, host: str, purpose: str) -> str:
        """Return the name of a cookie.

        Over https it has the prefix `__Host-`: no other host and no plain http can set it
        (RFC 6265bis section 4.1.3.2). On loopback it has the port, because cookies of all ports
        share one jar.
        """
        if self.is_secure:
            return f"__Host-authz-{purpose}"
        port = host.rpartition(":")[2]
        return f"authz-{purpose}-{port}" if port.isdecimal() else f"authz-{purpose}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
