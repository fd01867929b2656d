"""Parts of a CheckRequest that many requests have in common, parsed once: targets and peers."""

import re
from typing import Final

from authz.core import fields
from authz.core.methods import is_method
from authz.rpc.pb.check.v1.check_view_pb2 import Peer

MAX_AUTHORITY: Final = fields.MAX_HOST + len(".:65535")
MAX_PARTS: Final = 1024  # of each kind that are remembered
MAX_PEER: Final = 256  # bytes

# A host of DNS, an address, with or without a port. Envoy lets more through than any backend needs.
_AUTHORITY: Final = re.compile(
    r"(?:[A-Za-z0-9_-]{1,63}(?:(?=\.[A-Za-z0-9_-])\.[A-Za-z0-9_-]{1,63})*+\.?"
    r"|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?",
    re.ASCII,
)


class Targets:
    """Methods and hosts of requests. known: returns the remembered result of `read`, or None."""

    def __init__(self) -> None:
        self._well_formed: dict[tuple[bytes, bytes], tuple[str, str]] = {}
        self.known = self._well_formed.get

    def read(self, raw: tuple[bytes, bytes]) -> tuple[str, str] | None:
        """Return method and host as text, or None if one is malformed.

        Remember well-formed pairs.
        """
        method, host = (part.decode("latin-1") for part in raw)
        if not is_method(method) or len(host) > MAX_AUTHORITY or not _AUTHORITY.fullmatch(host):
            return None
        if len(self._well_formed) >= MAX_PARTS:
            self._well_formed.clear()
        self._well_formed[raw] = (method, host)
        return method, host


class Peers:
    """Addresses of peers. A connection repeats its peer with each request.

    known: returns the remembered result of `read`, or None.
    """

    def __init__(self) -> None:
        self._addresses: dict[bytes, str] = {}
        self.known = self._addresses.get

    def read(self, peer: bytes) -> str:
        """Return the address of a serialised Peer. Raises DecodeError if that is invalid.

        Remember it, unless the message is longer than MAX_PEER (256 bytes), as with a certificate.
        """
        address: str = Peer.FromString(peer).address.socket_address.address
        if len(peer) <= MAX_PEER:
            if len(self._addresses) >= MAX_PARTS:
                self._addresses.clear()
            self._addresses[peer] = address
        return address
