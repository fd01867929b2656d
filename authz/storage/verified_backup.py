"""A backup file that was verified to its end."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from authz.core.errors import Unreadable
from authz.core.seals import RecordSeals, Seal
from authz.storage import encoding, meta, schema
from authz.storage.backup import FORMAT, Contents
from authz.storage.moved import place
from authz.storage.sealed_lines import FileRefused
from authz.storage.tombstones import Tombstone

OTHER_COUNT: Final = "the backup is of {} partitions, redis.partitions is {}"
MEMBERS: Final = frozenset(
    {"records", "again", "aliases", "audit", "applied", "tombstones", "moved"}
)

Line = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup file that was verified to its end. created_at: ms since the epoch.

    meta: the fields of authz:meta. identity: tells it from another backup. last: kid to the number
    of the line with the last version, for each record that was read again. gone: its tombstones.
    bad_seals: kids of records with a wrong seal, or without one in a sealed store. A restore keeps
    them so, and they stay refused.
    """

    meta: Mapping[str, str]
    created_at: int
    contents: Contents
    identity: str
    last: Mapping[str, int] = field(default_factory=dict)
    gone: frozenset[Tombstone] = frozenset()
    bad_seals: tuple[str, ...] = ()


def verify(
    lines: Iterable[Line],
    fingerprints: Mapping[str, str],
    seals: RecordSeals | None = None,
    names: schema.Names = schema.DEFAULT,
) -> Verified:
    """Read a whole backup file and return its summary. lines: line number and content of each line.

    seals: checks the seals of the records; None: they are not checked. names: of the partition.
    Raises FileRefused with the line number, Emptied or Foreign if its authz:meta is missing or has
    other peppers than `fingerprints`.
    """
    found = Contents()
    header: dict[str, Any] = {}
    last: dict[str, int] = {}
    gone: set[Tombstone] = set()
    bad: set[str] = set()
    refused = {Seal.WRONG, Seal.UNKNOWN}
    for number, item in lines:
        try:
            if number == 1:
                header = item
                _check_header(item)
                if schema.META_SEALED in item["meta"]:
                    refused.add(Seal.ABSENT)
            elif "end" in item:
                _check_end(item["end"], found)
            else:
                if seals is not None:
                    _note_seals(item, seals, refused, bad)
                _check(item, found, bad)
                _check_moved(item, names)
                gone |= _tombstones(item)
                if item.get("again"):
                    last |= dict.fromkeys((kid for kid, _ in item["records"]), number)
        except (ValueError, TypeError, LookupError, AttributeError, Unreadable) as cause:
            raise FileRefused(f"line {number}: {cause}") from None
    meta.verify(header["meta"], fingerprints, names)
    identity = f"{header['created_at']}-{found.seq}-{found.records}-{found.audit}"
    about = (header["meta"], header["created_at"], found, identity, last, frozenset(gone))
    return Verified(*about, tuple(sorted(bad)))


def _check_header(item: dict[str, Any]) -> None:
    if "partitions" in item:
        raise ValueError(OTHER_COUNT.format(item["partitions"], 1))
    if item.get("format") != FORMAT:
        raise ValueError(f"format {item.get('format')!r}; this version reads {FORMAT}")
    if item["schema"] != schema.SCHEMA:
        raise ValueError(f"schema {item['schema']}; this version reads {schema.SCHEMA}; upgrade it")


def _check(item: dict[str, Any], found: Contents, bad: set[str]) -> None:
    if unknown := sorted(item.keys() - MEMBERS):
        raise ValueError(f"unknown member {unknown[0]!r}; upgrade this version")
    for kid, fields in item.get("records", ()):
        if not fields:
            raise ValueError(f"record {kid} has no fields")
        if kid not in bad and _is_newer(fields):  # whoever has no pepper may write any schema
            raise ValueError(f"record {kid} has a newer schema; upgrade this version")
        found.records += 1
    for digest, _kid in item.get("aliases", ()):
        bytes.fromhex(digest)
        found.aliases += 1
    found.audit += len(item.get("audit", ()))


def _check_moved(item: dict[str, Any], names: schema.Names) -> None:
    for kid, at in item.get("moved", ()):
        place(kid, str(at), names)


def _is_newer(fields: Mapping[str, str]) -> bool:
    """Return whether a record has a newer schema than ours. One that cannot be read has none."""
    try:
        return encoding.number("schema", fields.get("schema", "")) > schema.SCHEMA
    except ValueError:
        return False


def _note_seals(
    item: dict[str, Any], seals: RecordSeals, refused: set[Seal], bad: set[str]
) -> None:
    """Add the kids of records with a refused seal to `bad`. The last version of a record counts."""
    for kid, fields in item.get("records", ()):
        bad.discard(kid)
        if seals.check(kid, fields) in refused:
            bad.add(kid)


def _check_end(end: dict[str, int], found: Contents) -> None:
    found.seq = end["seq"]
    if end != asdict(found):
        raise ValueError("the file does not hold as much as its end says")


def _tombstones(item: dict[str, Any]) -> set[Tombstone]:
    return {
        Tombstone(int(bucket), int(member))
        for bucket, members in item.get("tombstones", ())
        for member in members
    }
