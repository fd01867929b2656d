"""The raw form of the headers of a CheckRequest, for an Envoy with `encode_raw_headers`."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from authz.rpc.pb.check.v1.check_view_pb2 import HeaderValue

_parse: Final = HeaderValue.FromString


class RawHeaders:
    """Headers by name. Values are bytes; duplicates are joined by a comma, as Envoy joins them.

    The length counts each duplicate. A missing header has the value b"". entries: the serialised
    HeaderValues. A first pass over their bytes finds those in which a wanted name stands; the
    others, which nobody asks for, are not parsed. To ask for a name raises DecodeError if an entry
    with its bytes is no HeaderValue.
    """

    __slots__ = ("_entries", "_joined", "_values")

    def __init__(self, entries: Iterable[bytes]) -> None:
        self._entries = list(entries)
        self._joined = b"".join(self._entries)
        self._values: dict[str, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return bool(self._find(name))

    def __getitem__(self, name: str) -> bytes:
        return b",".join(self._find(name))

    def _find(self, name: str) -> list[bytes]:
        """Return the values of all headers of this name, in their order."""
        found = self._values.get(name)
        if found is None:
            wanted, found = name.encode(), []
            at = self._joined.find(wanted)
            if at >= 0:
                entries = map(_parse, self._likely(wanted, at))
                found = [one.raw_value or one.value for one in entries if one.key == wanted]
            self._values[name] = found
        return found

    def _likely(self, wanted: bytes, at: int) -> Iterator[bytes]:
        """Yield each entry in which `wanted` begins. at: the first place of it, in all entries."""
        ends = list(accumulate(map(len, self._entries)))
        while at >= 0:
            index = bisect_right(ends, at)
            yield self._entries[index]
            at = self._joined.find(wanted, ends[index])
