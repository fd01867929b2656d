"""Edits, specifications and selectors as messages of the admin API."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask

from authz.core.edits import (
    Disable,
    Edit,
    Enable,
    Refund,
    ResetLimits,
    Retire,
    Revoke,
    RollBack,
    Rotate,
    Update,
)
from authz.core.filter import MAX_COMPARISONS, MAX_FILTER
from authz.core.limits.credits import CreditsChange
from authz.core.limits.limit import Limit, OnOutage
from authz.core.limits.throttle import Throttle
from authz.core.new_keys import KeySpec
from authz.core.selector import Selector
from authz.core.updates import Updates
from authz.rpc.admin.values import LIMITS, duration, name_of, rfc3339, timestamp
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2, limits_pb2

Key = key_pb2.Key
Bulk = keys_pb2.ChangeKeysRequest


def key_of(spec: KeySpec) -> Key:
    """Return the key of a specification."""
    key = Key(env=f"ENVIRONMENT_{spec.env.upper()}", public=spec.public)
    for name, (_, write) in _FIELDS.items():
        value = getattr(spec, name)
        if value is not None:
            write(key, value)
    if spec.life_ms is not None:
        key.ttl.CopyFrom(duration(spec.life_ms))
    elif spec.expires_at is not None:
        key.expire_time.CopyFrom(timestamp(spec.expires_at))
    else:
        key.never_expires = True
    return key


def updated(fields: Updates) -> tuple[Key, FieldMask]:
    """Return a key with the new values, and the mask that names their fields."""
    key, paths = Key(), list[str]()
    for name, value in fields.items():
        if name == "expires_at":
            paths.append("never_expires" if value is None else "expire_time")
            _set_end(key, value)
            continue
        path, write = _UPDATED[name]
        paths.append(path)
        if value is not None:
            write(key, value)
    return key, FieldMask(paths=paths)


def credits_text(change: CreditsChange | None) -> str:
    """Return a change of credits as requests have it; empty for none."""
    return "" if change is None else str(change)


def one_change(kid: str, edit: Edit, etag: str) -> Any:  # noqa: PLR0911  one for each edit
    """Return the request that makes an edit of one key, without note and wait.

    etag: that the key must have; empty: any.
    """
    name = name_of(kid)
    match edit:
        case Update():
            key, mask = updated(edit.fields)
            key.name, key.etag = name, etag
            return keys_pb2.UpdateKeyRequest(key=key, update_mask=mask, **_scopes(edit))
        case Rotate():
            overlap = duration(edit.grace_ms)
            return keys_pb2.RotateKeyRequest(
                name=name, overlap=overlap, etag=etag, deliver_to=edit.to
            )
        case Retire():
            return keys_pb2.RetireKeySecretRequest(name=name, secret=edit.secret, etag=etag)
        case RollBack():
            return keys_pb2.RollBackKeyRequest(name=name, etag=etag)
        case Revoke():
            return keys_pb2.RevokeKeyRequest(name=name, reason=_reason(edit), etag=etag)
        case Disable():
            return keys_pb2.DisableKeyRequest(name=name, etag=etag)
        case Enable():
            return keys_pb2.EnableKeyRequest(name=name, etag=etag)
        case ResetLimits() | Refund():
            return _change_of_limits(f"{name}{LIMITS}", edit, etag)
    return keys_pb2.DeleteKeyRequest(name=name, force=edit.is_forced, etag=etag)


def _change_of_limits(name: str, edit: ResetLimits | Refund, etag: str) -> Any:
    if isinstance(edit, ResetLimits):
        return limits_pb2.ResetKeyLimitsRequest(name=name)
    return limits_pb2.RefundKeyLimitsRequest(name=name, budget=str(edit.budget), etag=etag)


def bulk_change(edit: Edit) -> Bulk:
    """Return the request that makes an edit of many keys, without the keys."""
    match edit:
        case Update():
            key, mask = updated(edit.fields)
            return Bulk(update=Bulk.Update(key=key, update_mask=mask, **_scopes(edit)))
        case Rotate():
            return Bulk(rotate=Bulk.Rotate(overlap=duration(edit.grace_ms)))
        case Revoke():
            return Bulk(revoke=Bulk.Revoke(reason=_reason(edit)))
        case Disable():
            return Bulk(disable=Bulk.Disable())
        case Enable():
            return Bulk(enable=Bulk.Enable())
        case Retire() | RollBack() | ResetLimits() | Refund():
            raise TypeError(f"{type(edit).__name__} is for one key")
    return Bulk(delete=Bulk.Delete(force=edit.is_forced))


def filter_of(selector: Selector) -> str:
    """Return a filter that every selected key matches. It may match others, too.

    A filter has one status, no empty id, and a bounded length. `Selector.matches` does the rest.
    """
    text, count = "", 0
    for comparison in _comparisons(selector):
        longer = f"{text} AND {comparison}" if text else comparison
        if len(longer) <= MAX_FILTER and count < MAX_COMPARISONS:
            text, count = longer, count + 1
    return text


def _comparisons(selector: Selector) -> Iterator[str]:
    if selector.unused_since is not None:  # first, because only the server can look at it
        yield f"last_use_time < {_time(selector.unused_since)}"
    for name in ("client_id", "project_id", "tenant_id", "plan", "env", "kind"):
        if value := getattr(selector, name):
            yield f"{name} = {_quoted(value)}"
    if len(selector.states) == 1:
        yield f"status = {next(iter(selector.states))}"
    for path, ms in (
        ("create_time", selector.created_before),
        ("expire_time", selector.expires_before),
        ("revoke_time", selector.revoked_before),
    ):
        if ms is not None:
            yield f"{path} < {_time(ms)}"
    texts = {
        "display_name": selector.name and selector.name.text,
        "search": selector.search and selector.search.text,
        **{f"metadata.{name}": value for name, value in selector.metadata.items()},
    }
    for path, text in texts.items():
        if text:
            yield f"{path} = {_quoted(text)}"


def _time(ms: int) -> str:
    return f'"{rfc3339(ms)}"'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _scopes(edit: Update) -> dict[str, Any]:
    return {
        "add_scopes": sorted(edit.add_scopes),
        "remove_scopes": sorted(edit.remove_scopes),
        "credits": credits_text(edit.credits_change),
    }


def _reason(edit: Revoke) -> Any:
    return f"REVOCATION_REASON_{edit.reason.value.upper()}"


def _set_end(key: Key, value: Any) -> None:
    if value is None:
        key.never_expires = True
    else:
        key.expire_time.CopyFrom(timestamp(value))


def _text(path: str) -> tuple[str, Callable[[Key, Any], None]]:
    return path, lambda key, value: setattr(key, path, value)


def _list(path: str) -> tuple[str, Callable[[Key, Any], None]]:
    return path, lambda key, value: getattr(key, path).extend(map(str, value))


def _limits(key: Key, value: tuple[Limit, ...]) -> None:
    key.limits.extend(key_pb2.Limit(spec=str(limit)) for limit in value)


def _on_outage(key: Key, value: OnOutage) -> None:
    number: Any = Key.OnOutage.Value(f"ON_OUTAGE_{value.value.upper()}")
    key.on_outage = number


def _throttle(key: Key, value: Throttle) -> None:
    key.throttle.percent = value.percent
    key.throttle.end_time.CopyFrom(timestamp(value.until))


# The path of each field of a record that an update may set, and the writer of a value that is set.
_FIELDS: Final[dict[str, tuple[str, Callable[[Key, Any], None]]]] = {
    "name": _text("display_name"),
    "client_id": _text("client_id"),
    "project_id": _text("project_id"),
    "tenant_id": _text("tenant_id"),
    "plan": _text("plan"),
    "limits": ("limits", _limits),
    "on_outage": ("on_outage", _on_outage),
    "scopes": ("scopes", lambda key, value: key.scopes.extend(sorted(value))),
    "not_before": (
        "not_before_time",
        lambda key, value: key.not_before_time.CopyFrom(timestamp(value)),
    ),
    "allowed_cidrs": _list("allowed_cidrs"),
    "allowed_hosts": _list("allowed_hosts"),
    "allowed_origins": _list("allowed_origins"),
    "metadata": ("metadata", lambda key, value: key.metadata.update(value)),
    "outage_grace": ("outage_grace", lambda key, value: key.outage_grace.CopyFrom(duration(value))),
}
# A new key has no throttle.
_UPDATED: Final = _FIELDS | {"throttle": ("throttle", _throttle)}
