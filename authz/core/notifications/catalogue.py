"""Every event that receivers outside get: its type, its meaning, its fields and an example.

The reference page and the JSON Schema are made from this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.audit import Action

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/cloudevents+json"
_EXAMPLE_TIME: Final = "2026-12-01T10:00:00.000Z"
_TIME: Final = {"type": "integer", "description": "Milliseconds since the epoch."}


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event. details: JSON Schemas of the members of `data.details`, all optional.

    example: a value of `data.details`.
    """

    name: str
    meaning: str
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)


def _text(meaning: str) -> dict[str, Any]:
    return {"type": "string", "description": meaning}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


_EXPIRES_AT: Final = {"expires_at": _or_null(_TIME)}
_SECRET: Final = {"secret": _text("The number of the secret.")}

TYPES: Final[Mapping[Action, EventType]] = {
    Action.ISSUE: EventType(
        "authz.key.created",
        "A key was issued.",
        _EXPIRES_AT,
        {"expires_at": 1772000000000},
    ),
    Action.IMPORT: EventType(
        "authz.key.imported",
        "A key of another system was imported.",
        _EXPIRES_AT,
        {"expires_at": None},
    ),
    Action.UPDATE: EventType(
        "authz.key.updated",
        "Fields of a key were changed.",
        {"fields": {"type": "array", "items": {"type": "string"}, "description": "Their names."}},
        {"fields": ["scopes", "expires_at"]},
    ),
    Action.ROTATE: EventType(
        "authz.key.rotated",
        "A key has a new secret. The earlier ones work until `retires_at`.",
        {**_SECRET, "retires_at": _TIME, **_EXPIRES_AT},
        {"secret": "2", "retires_at": 1771000000000, "expires_at": 1778000000000},
    ),
    Action.RETIRE: EventType(
        "authz.key.retired",
        "A secret of an overlap was ended early.",
        {**_SECRET, "retires_at": _TIME},
        {"secret": "1", "retires_at": 1771000000000},
    ),
    Action.ROLL_BACK: EventType(
        "authz.key.rolled_back",
        "A rotation was undone within its overlap: the earlier secret stays, the new one ended.",
        {**_SECRET, "retired": _text("The number of the secret that ended."), **_EXPIRES_AT},
        {"secret": "1", "retired": "2", "expires_at": 1772000000000},
    ),
    Action.HOLD: EventType(
        "authz.key.delivery_unknown",
        "For 24 hours it is unknown whether a new secret has arrived at its target. Both secrets"
        " work until somebody ends one of them. A leaked one ends at `retires_at`.",
        {
            "secret": _text("The number of the new secret."),
            "target": _text("The name of the target."),
            "retires_at": _or_null(_TIME),
        },
        {"secret": "2", "target": "vault", "retires_at": None},
    ),
    Action.REVOKE: EventType(
        "authz.key.revoked",
        "A key was revoked, for ever.",
        {"reason": _text("A reason of RFC 5280, section 5.3.1.")},
        {"reason": "key_compromise"},
    ),
    Action.DISABLE: EventType("authz.key.disabled", "A key was disabled until it is enabled."),
    Action.ENABLE: EventType("authz.key.enabled", "A disabled key was enabled."),
    Action.RESET_LIMITS: EventType(
        "authz.key.limits_reset", "The usage counters of a key were set to zero."
    ),
    Action.REFUND: EventType(
        "authz.key.refunded",
        "Units of a budget of a key were given back.",
        {
            "budget": _text("The name of the budget."),
            "units": {"type": "integer", "description": "Tokens, micro-dollars or bytes."},
        },
        {"budget": "usd-month", "units": 2500000},
    ),
    Action.DELETE: EventType("authz.key.deleted", "A key and its personal data were deleted."),
    Action.ERASE_USAGE: EventType(
        "authz.key.usage_erased", "The facts about the callers of a key were erased."
    ),
    Action.LEAK: EventType(
        "authz.key.leaked",
        "Somebody reported a key as leaked.",
        {
            "done": _text(
                "`revoked`, `disabled`, `rotated`, `noted`, or `held`: a person has to decide."
            ),
            "where": _text("The place of the leak, such as a URL."),
            "found_in": _text("The kind of place, as the scanner names it."),
        },
        {
            "done": "revoked",
            "where": "https://github.com/acme/app/blob/3f0c2ab/.env",
            "found_in": "commit",
        },
    ),
    Action.BUDGET: EventType(
        "authz.key.budget_used",
        "A budget is used to 80 %, or has no room for a request (100 %). Each comes once a period.",
        {
            "budget": _text("The name of the limit, such as usd-month or tenant:usd-month."),
            "percent": {"type": "integer", "description": "80 or 100."},
            "ends_at": {**_TIME, "description": "The end of the period; 0: it has none."},
            "seen_at": _TIME,
        },
        {
            "budget": "usd-month",
            "percent": 80,
            "ends_at": 1772323200000,
            "seen_at": 1772000000000,
        },
    ),
    Action.CANARY: EventType(
        "authz.key.canary_used",
        "Somebody used a canary key, which nobody should have. The uses from one network in one"
        " minute are one event.",
        {
            "network": _text("The network of the caller, such as 192.0.2.0/24; empty if unknown."),
            "uses": {"type": "integer", "description": "The number of requests."},
            "seen_at": _TIME,
        },
        {"network": "192.0.2.0/24", "uses": 1, "seen_at": 1772000000000},
    ),
}
EXPIRED: Final = EventType(
    "authz.key.expired",
    "A key has expired. The event comes within a minute.",
    _EXPIRES_AT,
    {"expires_at": 1772000000000},
)
DUE: Final = EventType(
    "authz.key.due",
    "A key needs a new secret, by its rotation policy: now, or at `due_at`.",
    {**_SECRET, "due_at": _TIME},
    {"secret": "1", "due_at": 1772000000000},
)
ANOMALY: Final = EventType(
    "authz.key.anomaly",
    "The use of a key is unusual. Only keys that the setting `anomalies` names have this event.",
    {
        "risk": _text("`elevated`, or `high` if several features are unusual."),
        "features": {
            "type": "array",
            "items": {"type": "string"},
            "description": "`rate`, `silence`, `networks`, `agents`, `denied`, `errors`.",
        },
        "hour": {**_TIME, "description": "The begin of the hour, in ms since the epoch."},
        "done": _text(
            "`noted`, `disabled`, `rotated`, `throttled`, or `held`: a person has to decide."
        ),
        "rule": _text("The rule that decided; empty without one."),
    },
    {
        "risk": "high",
        "features": ["networks", "rate"],
        "hour": 1772000400000,
        "done": "disabled",
        "rule": "stolen",
    },
)
ALL: Final = (*TYPES.values(), EXPIRED, DUE, ANOMALY)


def example(kind: EventType) -> dict[str, Any]:
    """Return an example of an event."""
    data: dict[str, Any] = {
        "kid": "7Hk2mQ9xT4bVzR1c",
        "client": "acme-web",
        "project": "shop",
        "tenant": "acme",
        "version": 4711,
        "actor": "alice@ops1",
        "note": "asked for by mail",
    }
    return {
        "specversion": SPEC_VERSION,
        "id": "4711-0-5f2c9a10b3de",
        "source": "authz",
        "type": kind.name,
        "subject": "keys/7Hk2mQ9xT4bVzR1c",
        "time": _EXAMPLE_TIME,
        "datacontenttype": "application/json",
        "data": {**data, "details": dict(kind.example)},
    }


def schema() -> dict[str, Any]:
    """Return a JSON Schema (2020-12) of all events."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of authz",
        "oneOf": [_schema_of(kind) for kind in ALL],
    }


def _schema_of(kind: EventType) -> dict[str, Any]:
    data = {
        "kid": _text("The id of the key."),
        "client": _text("The client of the key as it is at the delivery; absent if it is gone."),
        "project": _text("The project of the key; absent without one."),
        "tenant": _text("The tenant of the key; absent without one."),
        "version": {"type": "integer", "description": "The number of the change."},
        "actor": _text("The author of the change."),
        "note": _text("The reason that the author gave; absent without one."),
        "address": _text("Address and user agent of a call of the admin API; absent else."),
        "request_id": _text("The id of that call; absent else."),
        "details": {
            "type": "object",
            "properties": {name: dict(about) for name, about in kind.details.items()},
        },
    }
    return {
        "title": kind.name,
        "description": kind.meaning,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
        "properties": {
            "specversion": {"const": SPEC_VERSION},
            "id": _text("The same in every delivery of the event."),
            "source": _text("The setting events.source."),
            "type": {"const": kind.name},
            "subject": _text("`keys/` and the kid."),
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "data": {
                "type": "object",
                "required": ["kid", "version", "actor", "details"],
                "properties": data,
            },
        },
        "examples": [example(kind)],
    }
