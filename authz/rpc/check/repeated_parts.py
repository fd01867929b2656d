"""Parts of a CheckRequest that many requests have in common, parsed once: targets and peers."""

import re
from typing import Final

from authz.core import fields
from authz.core.methods import is_method
from authz.rpc.pb.check.v1.check_view_pb2 import Peer

MAX_AUTHORITY: Final = fields.MAX_HOST + len(".:65535")
MAX_TARGETS: Final = 1024  # that are remembered
MAX_PEERS: Final = 8192  # a flood comes from thousands, and to read one takes a tenth of a Check
MAX_PEER: Final = 256  # bytes

# A host of DNS, an address, with or without a port. Envoy lets more through than any backend needs.
_AUTHORITY: Final = re.compile(
    r"(?:[A-Za-z0-9_-]{1,63}(?:(?=\.[A-Za-z0-9_-])\.[A-Za-z0-9_-]{1,63})*+\.?"
    r"|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?",
    re.ASCII,
)


class Targets(dict[tuple[bytes, bytes], tuple[str, str] | None]):
    """Method and host of requests as text, by their bytes; None if one is malformed.

    Well-formed pairs are remembered.
    """

    def __missing__(self, raw: tuple[bytes, bytes]) -> tuple[str, str] | None:
        """Read a pair that is not remembered."""
        method, host = (part.decode("latin-1") for part in raw)
        if not is_method(method) or len(host) > MAX_AUTHORITY or not _AUTHORITY.fullmatch(host):
            return None
        if len(self) >= MAX_TARGETS:
            self.clear()
        self[raw] = method, host
        return method, host


class Peers(dict[bytes, str]):
    """Addresses of serialised Peers. A connection repeats its peer with each request.

    They are remembered, unless the Peer is longer than MAX_PEER (256 bytes), as with a certificate.
    """

    def __missing__(self, peer: bytes) -> str:
        """Read a Peer that is not remembered. Raises DecodeError if it is invalid."""
        address: str = Peer.FromString(peer).address.socket_address.address
        if len(peer) <= MAX_PEER:
            if len(self) >= MAX_PEERS:
                self.clear()
            self[peer] = address
        return address
