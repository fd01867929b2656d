"""The raw form of the headers of a CheckRequest, for an Envoy with `encode_raw_headers`."""

from collections.abc import Iterable
from typing import Final

from authz.rpc.check.wire import read_varint
from authz.rpc.pb.check.v1.check_view_pb2 import HeaderMap, HeaderValue

_parse: Final = HeaderValue.FromString
_TAG: Final = 1 << 3 | 2  # of HeaderMap.headers
_LEAST: Final = 2  # bytes of an entry: its tag and its length
_SHORT: Final = 128  # from here on a length has several bytes


class RawHeaders:
    """Headers by name. Values are bytes; duplicates are joined by a comma, as Envoy joins them.

    A missing header has the value b"". serialised: a HeaderMap. Its bytes are searched for a name,
    and only an entry in which it stands is parsed. To ask for a name raises DecodeError if that
    entry is no HeaderValue, or is cut off.
    """

    __slots__ = ("_serialised",)

    def __init__(self, serialised: bytes) -> None:
        self._serialised = serialised

    def __contains__(self, name: str) -> bool:
        return bool(self._find(name.encode()))

    def __getitem__(self, name: str) -> bytes:
        return b",".join(self._find(name.encode()))

    def pick(self, names: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """Return those of the named headers that exist. names: each as text and as bytes."""
        serialised, picked = self._serialised, {}
        for name, wanted in names:
            at = serialised.find(wanted)
            if at >= 0 and (found := self._values(wanted, at)):
                picked[name] = b",".join(found) if len(found) > 1 else found[0]
        return picked

    def exceed(self, number: int) -> bool:
        """Return whether there are more headers than `number`. Each duplicate counts.

        Raises DecodeError if they cannot be counted.
        """
        return len(_entries(self._serialised)) > number

    def _find(self, wanted: bytes) -> list[bytes]:
        """Return the values of all headers of this name, in their order."""
        at = self._serialised.find(wanted)
        return self._values(wanted, at) if at >= 0 else []

    def _values(self, wanted: bytes, at: int) -> list[bytes]:
        """Return what `_find` does. at: the first place of the name in all bytes.

        Entries are counted off by their lengths, up to each place of the name. A name has no line
        feed, and the tag of an entry is one, so it cannot begin in one entry and end in the next.
        """
        serialised, end = self._serialised, 0
        found: list[bytes] = []
        while at >= 0:
            try:
                while end <= at:
                    start = end
                    length = serialised[start + 1]
                    if length < _SHORT:
                        end = start + _LEAST + length
                    else:
                        length, end = read_varint(serialised, start + 1)
                        end += length
            except IndexError:
                return _read_by_protobuf(serialised, wanted)
            if serialised[start] != _TAG or end > len(serialised):
                return _read_by_protobuf(serialised, wanted)
            entry = _parse(serialised[end - length : end])
            if entry.key == wanted:
                found.append(entry.raw_value or entry.value)
            at = serialised.find(wanted, end)
        return found


def _read_by_protobuf(serialised: bytes, wanted: bytes) -> list[bytes]:
    """Return the values where lengths do not lead to the entries, as beside an unknown field."""
    found = (_parse(entry) for entry in _entries(serialised) if wanted in entry)
    return [entry.raw_value or entry.value for entry in found if entry.key == wanted]


def _entries(serialised: bytes) -> list[bytes]:
    return list(HeaderMap.FromString(serialised).headers)
