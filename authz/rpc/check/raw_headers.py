"""The raw form of the headers of a CheckRequest, for an Envoy with `encode_raw_headers`."""

from typing import Any


class RawHeaders:
    """Headers by name. Values are bytes; duplicates are joined by a comma, as Envoy joins them.

    The length counts each duplicate. A missing header has the value b"". entries: those of
    `header_map`.
    """

    __slots__ = ("_entries", "_names")

    def __init__(self, entries: Any) -> None:
        self._entries = entries
        self._names = [entry.key for entry in entries]

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._names

    def __getitem__(self, name: str) -> bytes:
        wanted = name.encode()
        if self._names.count(wanted) == 1:
            return _value(self._entries[self._names.index(wanted)])
        pairs = zip(self._names, self._entries, strict=True)
        return b",".join(_value(entry) for found, entry in pairs if found == wanted)


def _value(entry: Any) -> bytes:
    value: bytes = entry.raw_value or entry.value
    return value
