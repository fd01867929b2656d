"""The contents of a cache, which another process can take over."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from authz.core.records import KeyRecord
from authz.flows.packed_records import unpack


@dataclass(frozen=True, slots=True)
class CacheContents:
    """The contents of a cache, for a snapshot. last_trusted: monotonic seconds.

    packed: records by kid. revoked: kids that were seen revoked. aliases: digests of imported keys
    with their kids.
    """

    packed: Mapping[str, bytes] = field(repr=False)
    revoked: list[str]
    last_trusted: float
    aliases: Sequence[tuple[bytes, str]] = ()

    def records(self) -> Iterator[KeyRecord]:
        """Yield the records, unpacked one by one, without their deadlines."""
        return (unpack(kid, packed)[0] for kid, packed in self.packed.items())
