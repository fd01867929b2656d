"""Write the header with the assertion of an allow. One assertion serves many requests."""

from collections.abc import Callable

from authz.core.assertion import REUSED_MS
from authz.core.bounded import BoundedDict
from authz.core.records import KeyRecord
from authz.core.tokens.presented import AcceptedToken
from authz.flows.packed_records import MAX_IN_USE
from authz.rpc.check.wire import OK, OK_HEADERS, field, header

Sign = Callable[[KeyRecord, AcceptedToken | None, str], str]
"""Returns a new assertion about a key, or a token of it, for an audience."""


class AssertionHeaders:
    """Writes assertions into the header `name`. wall_ms: the time, in ms.

    max_entries: bound on assertions that are remembered.
    """

    def __init__(
        self, name: str, sign: Sign, wall_ms: Callable[[], int], *, max_entries: int = MAX_IN_USE
    ) -> None:
        self._name = name
        self._sign = sign
        self._wall_ms = wall_ms
        # With the record that it was made from, so a changed key gets a new one at once.
        self._made: BoundedDict[tuple[str, str, str], tuple[KeyRecord, int, bytes]] = BoundedDict(
            max_entries
        )

    def write(self, key: KeyRecord, token: AcceptedToken | None, audience: str) -> bytes:
        """Return the serialised header, to be appended to an allow of this key.

        Its assertion is at most REUSED_MS (10 s) old.
        """
        about = (key.kid, "" if token is None else token.id, audience)
        now, made = self._wall_ms(), self._made.get(about)
        if made is None or made[0] is not key or not 0 <= now - made[1] < REUSED_MS:
            text = self._sign(key, token, audience)
            made = (key, now, field(OK, field(OK_HEADERS, header(self._name, text))))
            self._made.put(about, made)
        return made[2]
