"""Kong's declarative configuration: the key-auth credentials of its consumers.

Rate limits of a consumer become limits, its ACL groups become scopes. A line number is that of the
credential in the file.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import yaml

from authz.cli.import_times import past_ms
from authz.core.errors import BadInput
from authz.process.nested_yaml import BoundedLoader

CREDENTIALS: Final = "keyauth_credentials"
# Other credentials of a consumer, which are no API keys.
OTHERS: Final = (
    *("basicauth_credentials", "hmacauth_credentials", "jwt_secrets", "oauth2_credentials"),
    "mtls_auth_credentials",
)
NAMES: Final = ("id", "custom_id", "username")  # of a consumer; a later one is the better one
MEMBERS: Final = ("acls", "plugins")
_UNITS: Final = {
    "second": "s",
    "minute": "min",
    "hour": "h",
    "day": "d",
    "month": "month",
    "year": "year",
}
_RATE_PLUGINS: Final = ("rate-limiting", "rate-limiting-advanced")

Credential = tuple[int, dict[str, Any]]


def credentials(text: str, notes: Counter[str]) -> list[Credential]:
    """Return line (from 1) and fields of each credential. YAML and JSON are read.

    notes: counts credentials and plugins that are left out. Raises BadInput if the text is no YAML,
    is nested too deep, or has neither consumers nor credentials.
    """
    node, document = _load(text)
    if not isinstance(document, dict):
        raise BadInput("stdin", "is no declarative configuration of Kong")
    consumers = _pairs(node, document, "consumers")
    loose = _pairs(node, document, CREDENTIALS)
    if not consumers and not loose:
        raise BadInput("stdin", "has no consumers; is it a declarative configuration of Kong?")
    owners: dict[Any, dict[str, Any]] = {}
    for key in NAMES:
        owners |= {str(owner[key]): owner for _, owner in consumers if owner.get(key)}
    for part in MEMBERS:  # that stand outside of their consumer
        for member in _list(document, part):
            if owner := owners.get(_consumer(member), {}):
                owner[part] = [*_list(owner, part), member]
    shared = {_name(owner): _of_consumer(owner, notes) for _, owner in consumers}
    found = []
    for at, owner in consumers:
        for place, credential in _pairs(at, owner, CREDENTIALS):
            entry = _fields(credential, owner) | shared[_name(owner)]
            found.append((place.start_mark.line + 1, entry))
    for place, credential in loose:
        name = _consumer(credential)
        owner = owners.get(name, {"username": name})
        entry = _fields(credential, owner) | shared.get(_name(owner), {})
        found.append((place.start_mark.line + 1, entry))
    return found


def _of_consumer(owner: dict[str, Any], notes: Counter[str]) -> dict[str, Any]:
    """Return `scope` and `limit`, which all credentials of a consumer share.

    notes: counts the parts that are left out.
    """
    for other in OTHERS:
        if count := len(_list(owner, other)):
            notes[f"{other} of Kong, which are no API keys"] += count
    members = [member for member in _list(owner, "acls") if isinstance(member, dict)]
    scopes = [str(member["group"]) for member in members if member.get("group")]
    return {"scope": list(dict.fromkeys(scopes)), "limit": list(_limits(owner, notes))}


def _consumer(item: Any) -> str | None:
    """Return the name or the id in `item["consumer"]`, which is a text or an object; None without.

    `kong config db_export` writes the id of the consumer, deck its username.
    """
    named = item.get("consumer") if isinstance(item, dict) else None
    if isinstance(named, dict):
        named = next(filter(None, map(named.get, reversed(NAMES))), None)
    return str(named) if named else None


def _load(text: str) -> tuple[Any, Any]:
    try:
        loader: Any = BoundedLoader(text)
        try:
            node = loader.get_single_node()
            return node, loader.construct_document(node) if node else None
        finally:
            loader.dispose()
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise BadInput("stdin", f"is not YAML{where}; nothing was imported") from None
    except RecursionError:
        raise BadInput("stdin", "is nested too deep; nothing was imported") from None


def _fields(credential: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    created = credential.get("created_at", owner.get("created_at"))
    tags = [*_list(owner, "tags"), *_list(credential, "tags")]
    metadata = {"kong.tags": " ".join(map(str, tags))} if tags else {}
    if owner.get("username") and owner.get("custom_id"):
        metadata["kong.custom_id"] = str(owner["custom_id"])
    return {
        "key": credential.get("key"),
        "client": _name(owner),
        "id": credential.get("id"),
        "created_at": created,
        "expires_at": _end(credential.get("ttl"), created),
        "metadata": metadata,
    }


def _name(owner: dict[str, Any]) -> str | None:
    """Return the username of a consumer, else its custom_id, as text; None without both."""
    name = owner.get("username") or owner.get("custom_id")
    return str(name) if name else None


def _end(ttl: Any, created: Any) -> int | str | None:
    """Return the end of a credential in ms since the epoch, or None without a time to live.

    ttl: in seconds. If the end cannot be computed, return a text, which is refused later.
    """
    if not ttl:
        return None
    began = past_ms(created)
    return began + ttl * 1000 if isinstance(ttl, int) and began is not None else "unknown"


def _limits(owner: dict[str, Any], notes: Counter[str]) -> Iterator[str]:
    for plugin in _list(owner, "plugins"):
        if not isinstance(plugin, dict) or plugin.get("enabled") is False:
            continue
        settings = plugin.get("config")
        if plugin.get("name") not in _RATE_PLUGINS or not isinstance(settings, dict):
            notes[f"the plugin {str(plugin.get('name'))[:40]} of Kong, which is left out"] += 1
            continue
        for name, unit in _UNITS.items():
            if settings.get(name):
                yield f"{settings[name]}/{unit}"


def _pairs(node: Any, value: Any, name: str) -> list[tuple[Any, dict[str, Any]]]:
    """Return the objects of the list `name` in a mapping, each with its YAML node.

    node: of the mapping `value`. Empty if there is no such list.
    """
    items = _list(value, name)
    parts: Any = next((part.value for key, part in node.value if key.value == name), [])
    if not isinstance(parts, list) or len(parts) != len(items):
        return []
    return [(at, item) for at, item in zip(parts, items, strict=True) if isinstance(item, dict)]


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []
