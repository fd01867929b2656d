"""The fields of a Key message, parsed into a KeySpec or into Updates.

Fields that only the server sets are ignored, as in a key that was read and is sent back (AIP-203).
An update mask that names one of them is refused.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, cast

from google.protobuf.field_mask_pb2 import FieldMask

from authz.core import fields
from authz.core.edits import Update
from authz.core.errors import BadInput
from authz.core.fields import MAX_OUTAGE_GRACE_MS, shown
from authz.core.limits.credits import (
    KEEP_CREDITS,
    CreditsChange,
    parse_credits_change,
)
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.limits.throttle import Throttle, checked
from authz.core.new_keys import KeySpec
from authz.core.records import KeyRecord
from authz.core.updates import Updates
from authz.rpc.admin.values import duration_ms, time_ms, word_of
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2

Key = key_pb2.Key
UpdateRequest = keys_pb2.UpdateKeyRequest | keys_pb2.ChangeKeysRequest.Update
"""A message with the new values of fields."""

DEFAULT_LIFE_MS: Final = 90 * 86_400_000
EVERYTHING: Final = "*"

_ON_OUTAGE: Final = {number: name for name, number in Key.OnOutage.items()}
_EXPIRATION: Final = ("expire_time", "ttl", "never_expires")


_Reader = Callable[[str, Key], object]


def _optional_id(name: str, text: str) -> str:
    return fields.identifier(name, text) if text else ""


def _on_outage(_name: str, key: Key) -> OnOutage | None:
    return word_of(OnOutage, key.on_outage, "ON_OUTAGE", _ON_OUTAGE)


def _not_before(name: str, key: Key) -> int | None:
    return time_ms(name, key.not_before_time) if key.HasField("not_before_time") else None


def _outage_grace(name: str, key: Key) -> int | None:
    if not key.HasField("outage_grace"):
        return None
    return duration_ms(name, key.outage_grace, MAX_OUTAGE_GRACE_MS)


def _throttle(name: str, key: Key) -> Throttle | None:
    if not key.HasField("throttle"):
        return None
    if not key.throttle.HasField("end_time"):
        raise BadInput(f"{name}.end_time", "is needed: a throttle ends")
    until = time_ms(f"{name}.end_time", key.throttle.end_time)
    return checked(f"{name}.percent", key.throttle.percent, until)


def _limits(name: str, key: Key) -> object:
    return parse_limits(name, [limit.spec for limit in key.limits])


# The record field and the parser of each field that a client may set, besides the expiration.
READ: Final[dict[str, tuple[str, _Reader]]] = {
    "display_name": ("name", lambda name, key: fields.line(name, key.display_name)),
    "client_id": ("client_id", lambda name, key: fields.identifier(name, key.client_id)),
    "project_id": ("project_id", lambda name, key: _optional_id(name, key.project_id)),
    "tenant_id": ("tenant_id", lambda name, key: _optional_id(name, key.tenant_id)),
    "plan": ("plan", lambda name, key: _optional_id(name, key.plan)),
    "limits": ("limits", _limits),
    "on_outage": ("on_outage", _on_outage),
    "scopes": ("scopes", lambda name, key: fields.scopes(name, key.scopes)),
    "not_before_time": ("not_before", _not_before),
    "allowed_cidrs": ("allowed_cidrs", lambda name, key: fields.networks(name, key.allowed_cidrs)),
    "allowed_hosts": ("allowed_hosts", lambda name, key: fields.hosts(name, key.allowed_hosts)),
    "allowed_origins": (
        "allowed_origins",
        lambda name, key: fields.origins(name, key.allowed_origins),
    ),
    "metadata": ("metadata", lambda name, key: fields.metadata(name, key.metadata)),
    "outage_grace": ("outage_grace", _outage_grace),
    "throttle": ("throttle", _throttle),
}


def key_spec(path: str, key: Key, plans: Collection[str], *, is_canary: bool = False) -> KeySpec:
    """Return the specification of a new key. path: of the key in the request, for errors.

    Without an expiration the key lives 90 days, or for ever if it `is_canary`. Without an
    environment it is `live`. plans: the names of all plans. Raises BadInput for the first wrong
    field or an unknown plan.
    """
    found: dict[str, Any] = {name: read(f"{path}.{at}", key) for at, (name, read) in READ.items()}
    if found.pop("throttle") is not None:
        raise BadInput(f"{path}.throttle", "is for a key that exists already")
    _refuse_unknown_plan(f"{path}.plan", found["plan"], plans)
    env = Key.Environment.Name(key.env or Key.ENVIRONMENT_LIVE).removeprefix("ENVIRONMENT_")
    found |= {"env": env.lower(), "public": key.public, "is_canary": is_canary}
    end = _end(path, key, None)
    if key.WhichOneof("expiration") is None:
        life_ms = None if is_canary else DEFAULT_LIFE_MS
        return KeySpec(life_ms=life_ms, **found)
    if key.WhichOneof("expiration") == "ttl":
        return KeySpec(life_ms=_ttl(path, key), **found)
    return KeySpec(life_ms=None, expires_at=end, **found)


def updates(key: Key, mask: FieldMask, plans: Collection[str], now: int) -> Updates:
    """Return the new values of the fields that `mask` names, by the names of a record's fields.

    Without a mask: of every settable field with a value; with `*` of every settable field. now: ms
    since the epoch, for `ttl`. Raises BadInput for a path that is no field, a field that cannot be
    set, an unknown plan, and a wrong value.
    """
    paths = _paths(key, mask.paths)
    found: dict[str, object] = {}
    for path in paths - set(_EXPIRATION):
        name, read = READ[path]
        found[name] = read(f"key.{path}", key)
    if paths & set(_EXPIRATION):
        if key.WhichOneof("expiration") is None:
            raise BadInput("key", "give expire_time, ttl or never_expires: true")
        found["expires_at"] = _end("key", key, now)
    _refuse_unknown_plan("key.plan", str(found.get("plan", "")), plans)
    return cast("Updates", found)


def planned_update(request: UpdateRequest, plans: Collection[str], now: int) -> Update:
    """Return the update of a request. now: ms since the epoch, for `ttl`.

    Raises BadInput as `updates`, if there is nothing to change, if a scope is both added and
    removed, and for these scopes beside the field `scopes`.
    """
    found = updates(request.key, request.update_mask, plans, now)
    scopes = (request.add_scopes, request.remove_scopes)
    add, remove = (
        fields.scopes(name, given)
        for name, given in zip(("add_scopes", "remove_scopes"), scopes, strict=True)
    )
    if "scopes" in found and (add or remove):
        raise BadInput("add_scopes", "goes with remove_scopes, and not with the field scopes")
    if add & remove:
        raise BadInput("add_scopes", f"{shown(min(add & remove))} is in remove_scopes as well")
    change = _credits_change(request.credits, found)
    if not (found or add or remove or change):
        raise BadInput("update_mask", "nothing to change; name a field, such as display_name")
    return Update(fields=found, add_scopes=add, remove_scopes=remove, credits_change=change)


def _credits_change(text: str, found: Updates) -> CreditsChange | None:
    if not text:
        return None
    if text == KEEP_CREDITS.how:
        return KEEP_CREDITS
    change = parse_credits_change("credits", text)
    if any(limit.name == change.name for limit in found.get("limits", ())):
        raise BadInput("credits", f"key.limits has a limit of the name {change.name} as well")
    return change


def refuse_other_text(key: Key, record: KeyRecord) -> None:
    """Raise BadInput if `key` has a field with another value that is a part of the key's text.

    These are the environment, and whether it is publishable. An unset one passes.
    """
    if key.env and Key.Environment.Name(key.env) != f"ENVIRONMENT_{record.env.upper()}":
        raise BadInput("key.env", "never changes; issue a new key")
    if key.public and not record.public:
        raise BadInput("key.public", "never changes; issue a new key")


def _paths(key: Key, given: Iterable[str]) -> set[str]:
    known = {*READ, *_EXPIRATION}
    paths = set(given)
    if not paths:
        return {field.name for field, _ in key.ListFields()} & known
    if EVERYTHING in paths:
        return known
    for path in sorted(paths - known):
        if path == "expiration":
            raise BadInput("update_mask", "name expire_time, ttl or never_expires")
        problem = "cannot be set" if path in Key.DESCRIPTOR.fields_by_name else "is no field"
        raise BadInput("update_mask", f"{shown(path)} {problem} of a key")
    return paths


def _end(path: str, key: Key, now: int | None) -> int | None:
    """Return the end in ms since the epoch; None for a key without an end or an expiration.

    now: ms since the epoch; None: `ttl` gives None. Raises BadInput for a wrong time or `ttl`, and
    for `never_expires: false`.
    """
    match key.WhichOneof("expiration"):
        case "expire_time":
            return time_ms(f"{path}.expire_time", key.expire_time)
        case "ttl":
            return None if now is None else now + _ttl(path, key)
        case "never_expires" if not key.never_expires:
            raise BadInput(f"{path}.never_expires", "true, or leave it out and give an end")
    return None


def _ttl(path: str, key: Key) -> int:
    life = duration_ms(f"{path}.ttl", key.ttl)
    if not life:
        raise BadInput(f"{path}.ttl", "0 is not a lifetime; never_expires is for no end")
    return life


def _refuse_unknown_plan(path: str, plan: str, plans: Collection[str]) -> None:
    if plan and plan not in plans:
        there = (
            f"there are {', '.join(sorted(plans))}"
            if plans
            else "they define none: add it to `plans`"
        )
        raise BadInput(path, f"{shown(plan)} is not a plan of the settings; {there}")
