"""authz:meta: identifies the installation that a store belongs to, and the peppers of its keys."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from authz.core.errors import Foreign, Unavailable
from authz.storage import schema

NOT_INITIALISED: Final = (
    "the store has no authz:meta: it was never set up, or its data is gone; "
    "run `authz init`, or `authz restore FILE` if it had keys"
)
OTHER_COUNT: Final = "the store's number of partitions is {}, redis.partitions is {}"
MAX_DIGITS: Final = 20


class Emptied(Unavailable):
    """The store has no authz:meta. highest: the last change that it is known to have had, or 0.

    With 0 the text advises `authz init` or a restore, otherwise a restore only.
    """

    def __init__(self, highest: int = 0) -> None:
        super().__init__(_gone(highest) if highest else NOT_INITIALISED)
        self.highest = highest


class OtherCount(Foreign):
    """The store has another number of partitions than this process works with.

    It may be the same installation, which was moved. So what is cached is kept for an outage.
    """


def _gone(highest: int) -> str:
    return (
        f"the store's data is gone: it was at change {highest}; "
        "restore it with `authz restore FILE`; do not run `authz init`"
    )


def peppers_of(meta: Mapping[str, str]) -> dict[str, str]:
    """Return the pepper fingerprints in the fields of authz:meta, by version.

    Empty if there are none.
    """
    prefix = schema.META_PEPPER
    return {
        name.removeprefix(prefix): value for name, value in meta.items() if name.startswith(prefix)
    }


def verify(
    meta: Mapping[str, str], ours: Mapping[str, str], names: schema.Names = schema.DEFAULT
) -> dict[str, str]:
    """Return the store's pepper fingerprints by version. ours: the same of our peppers.

    names: those of the partition. Raises Emptied if `meta` is empty. Raises Foreign for another
    schema, another number of partitions or another partition, for a version with another
    fingerprint than ours, or if no version is common.
    """
    if not meta:
        raise Emptied
    refuse_schema(meta)
    refuse_partitions(meta, names)
    theirs = peppers_of(meta)
    for version, fingerprint in ours.items():
        if theirs.get(version, fingerprint) != fingerprint:
            raise Foreign(
                f"pepper {version} is not the one that made the store's keys; "
                "point keys.peppers at the right file"
            )
    if not theirs.keys() & ours.keys():
        raise Foreign(
            f"the store's keys were made with pepper {', '.join(sorted(theirs)) or '(none)'}, "
            f"keys.peppers has only {', '.join(sorted(ours))}"
        )
    return theirs


def has_moved(meta: Mapping[str, str]) -> bool:
    """Return whether keys may lie outside of the partition of their kid."""
    return schema.META_MOVED in meta


def schema_of(meta: Mapping[str, str]) -> str:
    """Return the schema that a store with this authz:meta has to have, as text."""
    return str(schema.SCHEMA_MOVED if has_moved(meta) else schema.SCHEMA)


def refuse_schema(meta: Mapping[str, str]) -> None:
    """Raise Foreign unless authz:meta has its schema: that of moved keys only if there may be any.

    So the loss of the one field or the other never hides moved keys.
    """
    found, ours = meta.get(schema.META_SCHEMA, "")[:20], schema_of(meta)
    if found != ours:
        raise Foreign(
            f"the store has schema {found!r}, this version reads {ours}; upgrade the older"
        )


def partitions_in(meta: Mapping[str, str]) -> str:
    """Return the number of partitions that authz:meta names, as text: 1 if it names none."""
    return _digits(meta.get(schema.META_PARTITIONS, "1"))


def refuse_partitions(meta: Mapping[str, str], names: schema.Names) -> None:
    """Raise OtherCount for another number of partitions, Foreign for another partition."""
    count, ours = partitions_in(meta), str(names.partitions)
    if count != ours:
        raise OtherCount(OTHER_COUNT.format(count, ours))
    which = _digits(meta.get(schema.META_PARTITION, "0"))
    if which != str(names.partition):
        raise Foreign(f"{names.meta} is that of partition {which}, not of {names.partition}")


def _digits(text: str) -> str:
    return text if text.isascii() and text.isdecimal() and len(text) < MAX_DIGITS else "unknown"


def unlisted_prefixes(meta: Mapping[str, str], listed: Collection[str]) -> str:
    """Return the problem and the remedy if authz:meta records a prefix that is not `listed`.

    Returns "" if all are listed, and if `listed` is empty.
    """
    starts = (schema.META_PREFIX, schema.META_PUBLIC)
    recorded = {name.partition(":")[2] for name in meta if name.startswith(starts)}
    missing = sorted(recorded.difference(listed))
    if not missing or not listed:
        return ""
    return (
        f"keys with the prefix {', '.join(missing)} get 401: add it to keys.older_prefixes, or "
        f"give it up with `authz init --retire-prefix {missing[0]}`"
    )


def has_imports(meta: Mapping[str, str]) -> bool:
    """Return whether authz:meta says that keys may have been imported."""
    return schema.META_IMPORTS in meta


def signing_entries(meta: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of signing keys in the fields of authz:meta, by key id."""
    prefix = schema.META_SIGNING
    return {
        name.removeprefix(prefix): value for name, value in meta.items() if name.startswith(prefix)
    }


class Form(Enum):
    """The form of the records of a store, see compact.py."""

    HASHES = ""  # each is a hash, unless `authz compact` has begun a moment ago
    MIXED = "mixed"  # changes write compact records; others are hashes
    COMPACT = "compact"  # each is compact, unless an earlier version has written it


def form_of(mark: str | None) -> Form:
    """Return the form by the field `compact` of authz:meta. An unknown value counts as mixed."""
    if not mark:
        return Form.HASHES
    return Form.COMPACT if mark == schema.ALL_COMPACT else Form.MIXED


@dataclass(frozen=True, slots=True)
class KnownPeppers:
    """A PepperProof that compares the store's pepper fingerprints with ours. It does no I/O.

    theirs: just read from the store. ours: of this process. Both by pepper version.
    """

    theirs: Mapping[str, str]
    ours: Mapping[str, str]

    def refutes(self, pepper_version: str) -> bool:
        """Return whether a wrong tag under this pepper version proves that the key was forged.

        True if the store lacks the version, or has the same fingerprint as ours. False if it has
        the version and we lack it, or have another fingerprint. See PepperProof.
        """
        theirs = self.theirs.get(pepper_version)
        return theirs is None or theirs == self.ours.get(pepper_version)


def entries(
    fingerprints: Mapping[str, str],
    prefixes: Iterable[str] = (),
    public_prefix: str = "",
    names: schema.Names = schema.DEFAULT,
) -> dict[str, str]:
    """Return the fields of authz:meta that `authz init` writes: schema, peppers and prefixes.

    fingerprints: by pepper version. public_prefix: of publishable keys, or empty. names: those of
    the partition, which is named if there are several.
    """
    peppers = {f"{schema.META_PEPPER}{version}": text for version, text in fingerprints.items()}
    recorded = {f"{schema.META_PREFIX}{prefix}": "1" for prefix in prefixes}
    if public_prefix:
        recorded[f"{schema.META_PUBLIC}{public_prefix}"] = "1"
    if names.partitions > 1:
        recorded[schema.META_PARTITIONS] = str(names.partitions)
        recorded[schema.META_PARTITION] = str(names.partition)
    return {schema.META_SCHEMA: str(schema.SCHEMA), **peppers, **recorded}
