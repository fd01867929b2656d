"""Reading files of keys for `authz diff` and `authz apply`; they may hold plans and routes, too."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from authz.cli.times import moment_ms
from authz.core import fields
from authz.core.declared_changes import AsOf
from authz.core.errors import BadInput, BadSettings
from authz.core.limits.limit import parse_limits, parse_on_outage
from authz.core.public_keys import completed
from authz.core.records import KeyRecord, Secret, Status
from authz.core.selector import Selector
from authz.flows.applying import Declared
from authz.process.nested_yaml import BoundedLoader
from authz.settings.includes import KEYS, SECTIONS
from authz.settings.model import parse_included

FORMAT: Final = 1
MAX_FILE: Final = 64 << 20


class Loader(BoundedLoader):
    """A bounded loader that refuses a name that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping. Raises ConstructorError for a repeated name, or a list as a name."""
        seen: set[str] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a name is text", name.start_mark
                )
            if name.value in seen:
                problem = f"{name.value[:40]} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
            seen.add(name.value)
        return super().construct_mapping(node, deep=deep)


_NO_SECRET: Final = (Secret("1", b"", "1", 0),)
SCOPES: Final = ("client", "project", "tenant", "env")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The content of a file. scope: the keys that it is about; empty: all.

    as_of: the last change of the store when the file was made, of several partitions a list of the
    last changes of each; 0 if it names none. plans: the names
    of plans that stand in the file itself.
    """

    scope: Selector
    as_of: AsOf
    keys: tuple[Declared, ...]
    plans: frozenset[str] = frozenset()


def load(path: str) -> KeyFile:
    """Read and check a file of keys; `-` is stdin.

    Plans, pools and routes in it are checked as in an included file of settings. Raises BadInput,
    which names the file, the key and the field; BadSettings for mistakes in several keys or in
    those sections.
    """
    text = read_text(path)
    try:
        found = yaml.load(text, Loader)  # noqa: S506  a safe loader
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        where = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(cause, "problem", None) or "is not YAML"
        raise BadInput("-f", f"{path}:{where} {str(problem)[:200]}") from None
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise BadInput("-f", f"{path}: has no list `keys`; `authz keys export` writes such a file")
    if unknown := found.keys() - {*KEYS, *SECTIONS}:
        raise BadInput("-f", f"{path}: {fields.shown(str(min(map(str, unknown))))} is unknown")
    if found.get("authz", FORMAT) != FORMAT:
        raise BadInput("-f", f"{path}: authz: this version reads format {FORMAT}")
    keys = _all_declared(path, found["keys"])
    scope = _scope(path, found.get("scope") or {})
    as_of = _as_of(path, found.get("as_of", 0))
    if not found.keys() & set(SECTIONS):
        return KeyFile(scope, as_of, keys)
    given = parse_included("-f", text.encode(), Path(path))
    return KeyFile(scope, as_of, keys, frozenset(given.plans))


def read_text(path: str) -> str:
    """Return the text of a file, or of stdin for `-`.

    Raises BadInput if it cannot be read, is larger than MAX_FILE (64 MiB) or is not UTF-8.
    """
    try:
        with Path("/dev/stdin" if path == "-" else path).open("rb") as file:
            raw = file.read(MAX_FILE + 1)
        if len(raw) > MAX_FILE:
            raise BadInput("-f", f"{path}: larger than {MAX_FILE >> 20} MiB")
        return raw.decode("utf-8-sig")
    except OSError as cause:
        raise BadInput("-f", f"{path}: {cause.strerror}; name a file such as keys.yaml") from None
    except UnicodeDecodeError:
        raise BadInput("-f", f"{path}: is not UTF-8") from None


_KNOWN: Final = {
    *("ref", "kid", "version", "client", "name", "env", "status", "project", "tenant", "plan"),
    *("limits", "on_outage", "scopes", "not_before", "expires_at", "cidrs", "hosts", "origins"),
    *("metadata", "outage_grace", "public"),
}


def _all_declared(path: str, entries: Sequence[Any]) -> tuple[Declared, ...]:
    """Return the declared keys. Raises BadSettings with the first mistake of each key."""
    keys: list[Declared] = []
    mistakes: list[BadInput] = []
    for number, entry in enumerate(entries, start=1):
        try:
            keys.append(_declared(path, number, entry))
        except BadInput as cause:
            mistakes.append(cause)
    mistakes += _repeated(path, keys)
    if mistakes:
        raise BadSettings(mistakes)
    return tuple(keys)


def _declared(path: str, number: int, entry: Any) -> Declared:
    label = f"{path}: key {number}"
    if not isinstance(entry, dict):
        raise BadInput("-f", f"{label}: is not a mapping with `client` and other fields")
    if unknown := [name for name in entry if name not in _KNOWN]:
        raise BadInput("-f", f"{label}: {fields.shown(str(unknown[0]))} is unknown")
    try:
        kid, ref = _text(entry, "kid"), _text(entry, "ref")
        if kid or ref:
            label += f" ({fields.shown(kid or ref)})"
        if kid:
            fields.kid("kid", kid)
        if ref:
            fields.identifier("ref", ref)
        _need(kid or ref)
        record = record_of(entry, kid)
    except BadInput as cause:
        raise BadInput("-f", f"{label}: {str(cause).removeprefix('--')}") from None
    version = entry.get("version")
    seen = None if version is None else _count(label, "version", version)
    return Declared(label, kid or None, ref, seen, record)


def _need(name: str) -> None:
    if not name:
        raise BadInput("ref", "a key without kid needs one, such as acme-web.shop")


def record_of(entry: Mapping[str, Any], kid: str) -> KeyRecord:
    """Return the record that an entry declares. Raises BadInput about the field.

    Version and creation time are 0, and the secret is a placeholder. kid: empty for a new key. A
    publishable key without limits and plan gets the usual limits.
    """
    status = _text(entry, "status") or Status.ACTIVE.value
    if status not in list(Status):
        raise BadInput("status", f"{fields.shown(status)}: one of {', '.join(Status)}")
    on_outage, grace = _text(entry, "on_outage"), _text(entry, "outage_grace")
    metadata = entry.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadInput("metadata", 'names and texts in quotes, such as team: "web"')
    is_public = entry.get("public") or False
    if not isinstance(is_public, bool):
        raise BadInput("public", "true or false")
    record = KeyRecord(
        kid=kid,
        version=0,
        status=Status(status),
        created_at=0,
        secrets=_NO_SECRET,
        env=fields.environment("env", _text(entry, "env") or "live"),
        client_id=fields.identifier("client", _text(entry, "client")),
        name=fields.line("name", _text(entry, "name")),
        project_id=_id(entry, "project"),
        tenant_id=_id(entry, "tenant"),
        plan=_id(entry, "plan"),
        limits=parse_limits("limits", _texts(entry, "limits")),
        on_outage=parse_on_outage("on_outage", on_outage) if on_outage else None,
        scopes=fields.scopes("scopes", _texts(entry, "scopes")),
        not_before=_time(entry, "not_before"),
        expires_at=_time(entry, "expires_at"),
        allowed_cidrs=fields.networks("cidrs", _texts(entry, "cidrs")),
        allowed_hosts=fields.hosts("hosts", _texts(entry, "hosts")),
        allowed_origins=fields.origins("origins", _texts(entry, "origins")),
        metadata=fields.metadata("metadata", {str(n): v for n, v in metadata.items()}),
        outage_grace=fields.outage_grace_ms("outage_grace", grace) if grace else None,
        public=is_public,
    )
    return completed(record)


def _text(entry: Mapping[str, Any], name: str) -> str:
    found = entry.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise BadInput(name, f"{fields.shown(str(found))} is no text; put it in quotes")
    return found


def _texts(entry: Mapping[str, Any], name: str) -> list[str]:
    found = entry.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadInput(name, "is not a list of texts")
    return found


def _id(entry: Mapping[str, Any], name: str) -> str:
    text = _text(entry, name)
    return fields.identifier(name, text) if text else ""


def _time(entry: Mapping[str, Any], name: str) -> int | None:
    found = entry.get(name)
    if found is None:
        return None
    text = found.isoformat() if hasattr(found, "isoformat") else str(found)
    text = text.replace(" ", "T")
    if hasattr(found, "tzinfo") and found.tzinfo is None:
        text += "Z"  # YAML reads a time in UTC without a zone
    return moment_ms(name, text, 0) if "T" in text else _no_time(name, text)


def _no_time(name: str, text: str) -> int:
    raise BadInput(name, f"{fields.shown(text)} is not a time, such as 2026-12-01T00:00:00Z")


def _count(label: str, name: str, found: Any) -> int:
    if type(found) is not int or found < 0:
        raise BadInput("-f", f"{label}: {name}: is not a whole number")
    return found


def _as_of(path: str, found: Any) -> AsOf:
    if isinstance(found, list):
        return tuple(_count(path, "as_of", one) for one in found)
    return _count(path, "as_of", found)


def _scope(path: str, found: Any) -> Selector:
    if not isinstance(found, dict) or not found.keys() <= set(SCOPES):
        raise BadInput("-f", f"{path}: scope: has client, project, tenant and env alone")
    try:
        env = None if found.get("env") is None else _text(found, "env")
        client = None if found.get("client") is None else _text(found, "client")
        return Selector(
            client_id=None if client is None else fields.identifier("client", client),
            project_id=None if found.get("project") is None else _id(found, "project"),
            tenant_id=None if found.get("tenant") is None else _id(found, "tenant"),
            env=None if env is None else fields.environment("env", env),
        )
    except BadInput as cause:
        raise BadInput("-f", f"{path}: scope: {cause}") from None


def _repeated(path: str, keys: Sequence[Declared]) -> list[BadInput]:
    """Return a mistake for each kid and each ref that stands in the file more than once."""
    names = Counter(one.kid for one in keys if one.kid)
    names.update(f"ref {one.ref}" for one in keys if one.ref)
    twice = (name for name, count in names.items() if count > 1)
    return [BadInput("-f", f"{path}: {name} is there twice") for name in twice]
