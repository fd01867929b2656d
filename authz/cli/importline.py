"""Parse one entry of an import: a key, or its SHA-256, and the specification of its record.

No error shows a value of the entry: a user who mixes up two fields must not find the key in a log.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from authz.cli.import_fields import ALIASES, FIELDS
from authz.cli.import_times import past_ms
from authz.cli.json_lines import LINE
from authz.cli.key_hash import is_hash_like, sha256_of
from authz.cli.keyspec import life_ms
from authz.cli.options import plan
from authz.cli.times import moment_ms
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.keys.credentials import Imported, ImportedHash
from authz.core.keys.keyring import Keyring
from authz.core.keys.text import MIN_IMPORTED
from authz.core.limits.credits import credits_limit
from authz.core.limits.limit import Limit, parse_limits, parse_on_outage
from authz.core.new_keys import KeySpec
from authz.core.past import Past
from authz.core.records import Status
from authz.core.times import rfc3339
from authz.flows.importing import Wanted

_T = TypeVar("_T")

MAX_DEPTH: Final = 8  # of nested metadata
NEVER: Final = "never"
LAST_USED: Final = "last_used_at"  # in the metadata, until the key is used here
SOURCE_ID: Final = "source_id"  # in the metadata: the id in the other system
_OF_THE_PAST: Final = frozenset({"status", "created_at", "expires_at", "never"})


@dataclass(frozen=True, slots=True)
class LineParser:
    """Parses entries by the settings. plans: names of all plans.

    allow_hash_like: accept a key that looks like the hash of a key.
    """

    keyring: Keyring
    plans: Collection[str]
    allow_hash_like: bool = False

    def parse(self, given: Mapping[str, Any], now: int) -> Wanted:
        """Parse an entry into a key and the specification of its record.

        now: milliseconds since the epoch, for relative times. A null member counts as absent.
        Raises BadInput with the field's name but no value: for an unknown or missing field, a bad
        value, or a key that stands in another field too.
        """
        entry = self._named(given)
        key = self._key(entry)
        client = _one(entry, "client", fields.identifier, None)
        if client is None:
            raise BadInput("client", "is needed")
        past = _past(entry, now)
        return Wanted(key, self._spec(client, entry, now), past)

    def _named(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are not null, by their names in FIELDS. Raises BadInput."""
        entry: dict[str, Any] = {}
        for at, (name, value) in enumerate(given.items(), start=1):
            known = ALIASES.get(name, name)
            if known not in FIELDS:
                raise BadInput(LINE, f"has an unknown field, {self._described(name, at)}{_HELP}")
            if value is None:
                continue
            if known in entry:
                raise BadInput(known, "is given twice, once by another name")
            entry[known] = value
        return entry

    def may_be_key(self, text: str) -> bool:
        """Return whether a text that is no field could be a key, so that nobody may see it."""
        return len(text) >= MIN_IMPORTED or self.keyring.declares(text)

    def _described(self, name: str, at: int) -> str:
        """Return the name of a field, or its number if the name could be a key."""
        return f"number {at}" if self.may_be_key(name) else fields.shown(name)

    def _key(self, entry: dict[str, Any]) -> Imported | ImportedHash:
        key = _one(entry, "key", lambda _, text: self._foreign(text), None)
        hashed = _one(
            entry, "sha256", lambda _, text: self.keyring.imported_hash(sha256_of(text)), None
        )
        if key is None:
            if hashed is None:
                raise BadInput("key", "is needed, or sha256")
            return hashed
        text = entry["key"]
        if any(text in str(value) for name, value in entry.items() if name != "key"):
            raise BadInput("key", "stands in another field too, where it would be stored and shown")
        if is_hash_like(text) and not self.allow_hash_like:
            raise BadInput("key", "looks like a hash: name it sha256, or give --allow-hash-like")
        if hashed is not None and next(hashed.digests()) != next(key.hashed().digests()):
            raise BadInput("sha256", "is the hash of another key than `key`")
        return key

    def _foreign(self, text: str) -> Imported:
        found = self.keyring.parse_imported(text)
        if found is None:
            raise BadInput("key", "")
        return found

    def _spec(self, client: str, given: dict[str, Any], now: int) -> KeySpec:
        return KeySpec(
            client_id=client,
            env=_one(given, "env", fields.environment, "live"),
            name=_one(given, "name", fields.line, ""),
            project_id=_one(given, "project", fields.identifier, ""),
            tenant_id=_one(given, "tenant", fields.identifier, ""),
            plan=_one(given, "plan", lambda name, text: plan(name, text, self.plans), ""),
            limits=_limits(given),
            on_outage=_one(given, "on_outage", parse_on_outage, None),
            scopes=_several(given, "scope", fields.scopes, frozenset()),
            not_before=_one(given, "not_before", lambda at, text: moment_ms(at, text, now), None),
            life_ms=_one(given, "expires_in", life_ms, None),
            allowed_cidrs=_several(given, "cidr", fields.networks, ()),
            allowed_hosts=_several(given, "host", fields.hosts, ()),
            allowed_origins=_several(given, "origin", fields.origins, ()),
            metadata=_metadata(given, now),
            outage_grace=_one(given, "outage_grace", fields.outage_grace_ms, None),
            public=self._public(given),
        )

    def _public(self, given: dict[str, Any]) -> bool:
        found = _flag(given, "public", default=False)
        if found and not self.keyring.public_prefix:
            raise BadInput("public", "no key can be publishable here: see keys.public_prefix")
        return found


_HELP: Final = "; `authz keys import --help` lists all"


def _past(given: dict[str, Any], now: int) -> Past | None:
    if _OF_THE_PAST.isdisjoint(given):
        return None
    if len({"expires_in", "expires_at", "never"} & given.keys()) > 1:
        raise BadInput("expires_at", "is given beside expires_in or never; give one of them")
    if not _flag(given, "never", default=True):
        raise _wrong("never")
    status = _one(given, "status", lambda _, text: Status(text.lower()), Status.ACTIVE)
    created_at = _moment(given, "created_at")
    expires_at = None if given.get("expires_at") == NEVER else _moment(given, "expires_at")
    if created_at is not None and created_at > now:
        raise _wrong("created_at")
    if status is Status.ACTIVE and created_at is expires_at is None:
        return None
    return Past(status=status, created_at=created_at, expires_at=expires_at)


def _flag(given: dict[str, Any], name: str, *, default: bool) -> bool:
    """Return a field that is true or false, as a value or a text. Raises BadInput otherwise."""
    value = given.get(name, default)
    if value is not True and value is not False and value not in ("true", "false"):
        raise _wrong(name)
    return value in {True, "true"}


def _moment(given: dict[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    found = past_ms(value)
    if found is None:
        raise _wrong(name)
    return found


def _one(given: dict[str, Any], name: str, parse: Callable[[str, str], _T], default: _T) -> _T:
    """Parse a field with one text; return `default` if it is absent.

    Raises BadInput without the value if it is not a valid text.
    """
    value = given.get(name)
    if value is None:
        return default
    try:
        return parse(name, _text(value))
    except (BadInput, TypeError, ValueError):
        raise _wrong(name) from None


def _limits(given: dict[str, Any]) -> tuple[Limit, ...]:
    """Return the limits, and the credits as one more. Raises BadInput, which shows no value."""
    no_limits: tuple[Limit, ...] = ()
    limits = _several(given, "limit", parse_limits, no_limits)
    value = given.get("credits")
    if value is None:
        return limits
    text = str(value) if type(value) is int else value
    found = _one({"credits": text}, "credits", credits_limit, "")
    try:
        return parse_limits("limit", [*map(str, limits), found])
    except BadInput:
        raise _wrong("limit") from None


def _several(
    given: dict[str, Any], name: str, parse: Callable[[str, list[str]], _T], default: _T
) -> _T:
    """Parse a field with a list of texts, or a single text; return `default` if it is absent.

    Raises BadInput without the values if one is not a valid text.
    """
    value = given.get(name)
    if value is None:
        return default
    try:
        return parse(name, [_text(item) for item in (value if type(value) is list else [value])])
    except (BadInput, TypeError):
        raise _wrong(name) from None


def _metadata(given: dict[str, Any], now: int) -> dict[str, str]:
    """Return the metadata, nested names joined with dots, with the id and the last use added.

    A name that the metadata has already stays. Raises BadInput, which shows no value.
    """
    found: dict[str, str] = {}
    try:
        _flatten(given.get("metadata", {}), "", found, MAX_DEPTH)
        last_used = _moment(given, LAST_USED)
        if last_used is not None:
            found.setdefault(LAST_USED, rfc3339(min(last_used, now)))
        if "id" in given:
            found.setdefault(SOURCE_ID, _one(given, "id", fields.line, ""))
        return fields.metadata("", found)
    except BadInput as cause:
        raise cause if cause.field else _wrong("metadata") from None
    except (TypeError, AttributeError):
        raise _wrong("metadata") from None


def _flatten(value: Any, name: str, found: dict[str, str], depth: int) -> None:
    """Add a value to `found` as text; of an object and a list each member under a dotted name.

    Leave out a null. Raises TypeError if the outermost value is no object, if it is nested deeper
    than `depth`, or if a name occurs twice.
    """
    if isinstance(value, dict) or (name and isinstance(value, list)):
        if not depth:
            raise TypeError
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for inner, part in members:
            _flatten(part, f"{name}.{inner}" if name else str(inner), found, depth - 1)
        return
    if not name or name in found:
        raise TypeError
    if value is None:
        return
    if isinstance(value, bool):
        value = "true" if value else "false"
    found[name] = str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _wrong(name: str) -> BadInput:
    return BadInput(name, f"has to be {FIELDS[name]}")
