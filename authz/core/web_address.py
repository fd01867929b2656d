"""Addresses of other servers: https, or plain http on loopback."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from authz.core.errors import BadInput

_TEXT: Final = re.compile(r"[!-~]*", re.ASCII)


def check_url(field_name: str, url: str) -> str:
    """Return the URL unchanged. `field_name` names the setting in errors.

    Raises BadInput unless it is https, or http to `localhost` or a loopback address, and if it has
    a user, a fragment, a blank, a control character, or a character outside ASCII.
    """
    if not _TEXT.fullmatch(url):  # urlsplit drops line ends and tabs
        raise BadInput(field_name, "a URL has printable ASCII characters without blanks")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise BadInput(field_name, "not a URL, such as https://idp.example.com") from None
    if parts.username is not None or parts.fragment or not parts.hostname:
        raise BadInput(field_name, "a URL without user and fragment")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)):
        return url
    raise BadInput(field_name, "https is needed; plain http works for 127.0.0.1 and ::1 only")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
