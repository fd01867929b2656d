"""Simple GET requests, read without the machinery of a web server."""

from typing import Final, NamedTuple

MAX_BYTES: Final = 4096
_OTHERS: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class SimpleGet(NamedTuple):
    """A GET without a body. accept: its Accept header, or empty. close: ends the connection."""

    path: str
    accept: str
    close: bool


def simple_get(request: bytes) -> SimpleGet | None:
    """Return the request if these bytes are one whole HTTP/1.1 GET without a body, else None.

    None also for everything unusual, such as a repeated header or more than MAX_BYTES (4096): that
    is for a real server to judge.
    """
    head, end, rest = request.partition(b"\r\n\r\n")
    if not end or rest or len(request) > MAX_BYTES or not head.isascii():
        return None
    line, *lines = head.split(b"\r\n")
    method, _, line = line.partition(b" ")
    path, _, version = line.partition(b" ")
    if method != b"GET" or version != b"HTTP/1.1" or not path.decode().isprintable():
        return None
    headers: dict[bytes, str] = {}
    for each in lines:
        name, colon, value = each.partition(b":")
        name, text = name.lower(), value.strip(b" \t").decode()
        is_plain = name.replace(b"-", b"").isalnum() and text.isprintable()
        if not colon or not is_plain or name in headers or name in _OTHERS:
            return None
        headers[name] = text
    connection = headers.get(b"connection", "keep-alive").lower()
    if b"host" not in headers or connection not in ("close", "keep-alive"):
        return None
    return SimpleGet(path.decode(), headers.get(b"accept", ""), connection == "close")
