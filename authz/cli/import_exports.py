"""Exports of other key systems: each reader turns one of their entries into the fields of ours.

A setting that limits a key and has no counterpart here is kept in the metadata and counted in
`notes`, so that the operator is told.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from authz.core.errors import BadInput
from authz.core.keys.text import ENVIRONMENTS

Notes = Counter[str]
Reader = Callable[[Mapping[str, Any], Notes], dict[str, Any]]

_UNITS: Final[dict[float, str]] = {1000: "s", 60_000: "min", 3_600_000: "h", 86_400_000: "d"}
_ALL_MODELS: Final = ("all-proxy-models", "*")


def recognised(item: Mapping[str, Any]) -> str:
    """Return the system that an entry of a JSON list comes from: `unkey` or `litellm`.

    Empty for any other, such as one in our own form.
    """
    if "token" in item and ("key_name" in item or "key_alias" in item or "max_budget" in item):
        return "litellm"
    is_ours = "client" in item or "client_id" in item
    if not is_ours and ("keyId" in item or "apiId" in item or "ownerId" in item or "start" in item):
        return "unkey"
    return ""


def read_unkey(item: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """Return the fields of an entry of Unkey's key list, version 1 or 2; None for an absent one.

    Raises BadInput if its key and hash are missing, or if it has a hash or a rate of another kind.
    """
    identity = _object(item, "identity")
    found: dict[str, Any] = {
        "client": identity.get("externalId") or item.get("externalId") or item.get("ownerId"),
        "id": item.get("keyId") or item.get("id"),
        "name": item.get("name"),
        "created_at": item.get("createdAt"),
        "expires_at": item.get("expires"),
        "last_used_at": item.get("lastUsedAt"),
        "scope": _texts(item, "permissions"),
        "status": "disabled" if item.get("enabled") is False else None,
        "env": item.get("environment") if item.get("environment") in ENVIRONMENTS else None,
    }
    metadata = dict(_object(item, "meta"))
    if roles := _texts(item, "roles"):
        metadata["roles"] = " ".join(roles)
    found["limit"] = _unkey_limits(item)
    found |= _unkey_credits(item, metadata, notes)
    found["metadata"] = metadata
    found |= _secret(item.get("plaintext") or item.get("key"), item.get("hash"))
    return found


def read_litellm(item: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """Return the fields of a virtual key of LiteLLM; None for an absent one.

    Its token is the SHA-256 of the key, or the key if it begins with `sk-`. Raises BadInput without
    a token.
    """
    metadata = dict(_object(item, "metadata"))
    for name in ("max_budget", "budget_duration", "tpm_limit", "max_parallel_requests", "spend"):
        if item.get(name):
            metadata[f"litellm.{name}"] = item[name]
            if name != "spend":
                notes[f"{name}, kept in the metadata and not enforced"] += 1
    rate = item.get("rpm_limit")
    token = item.get("token")
    return {
        "client": item.get("user_id") or item.get("team_id") or item.get("key_alias"),
        "project": item.get("team_id"),
        "tenant": item.get("organization_id") or item.get("org_id"),
        "name": item.get("key_alias"),
        "created_at": item.get("created_at"),
        "last_used_at": item.get("last_active"),
        "expires_at": item.get("expires"),
        "status": "disabled" if item.get("blocked") else None,
        "scope": _models(_texts(item, "models"), notes),
        "limit": [f"{rate}/min"] if rate else None,
        "metadata": metadata,
        **_secret(token if isinstance(token, str) and token.startswith("sk-") else None, token),
    }


READERS: Final[dict[str, Reader]] = {"unkey": read_unkey, "litellm": read_litellm}


def _secret(key: Any, hashed: Any) -> dict[str, Any]:
    """Return the field `key`, or without a key the field `sha256`.

    hashed: a text, or an object of variant and value. Raises BadInput if both are missing, or if
    the variant is no SHA-256.
    """
    if isinstance(hashed, dict):
        variant = str(hashed.get("variant", "sha256"))
        if not variant.startswith("sha256"):
            raise BadInput("hash", "is not a SHA-256")
        hashed = hashed.get("value")
    if key:
        return {"key": key}
    if not hashed:
        raise BadInput("hash", "is needed: the export has neither the key nor its hash")
    return {"sha256": hashed}


def _models(models: list[str], notes: Notes) -> list[str]:
    """Return a scope for each model: `models:NAME:*`. For an empty list it is `models:*`.

    Without a list LiteLLM allows all models. The models of a team are counted in `notes` instead.
    """
    if not models or any(name in models for name in _ALL_MODELS):
        return ["models:*"]
    if "all-team-models" in models:
        notes["the models of a team, which became no scope"] += 1
    return [f"models:{name}:*" for name in models if name != "all-team-models"]


def _unkey_limits(item: Mapping[str, Any]) -> list[str] | None:
    listed = item.get("ratelimits")
    one = item.get("ratelimit")
    given = listed if isinstance(listed, list) else [one] if isinstance(one, dict) else []
    found = []
    for rate in given:
        if not isinstance(rate, dict):
            raise BadInput("ratelimit", "is not an object with a limit and a duration")
        length = rate.get("duration") or rate.get("refillInterval")
        amount = rate.get("limit") or rate.get("refillRate")
        if not isinstance(length, int | float) or length not in _UNITS:
            raise BadInput("ratelimit", "has a duration that is not a second, minute, hour or day")
        found.append(f"{amount}/{_UNITS[length]}")
    return list(dict.fromkeys(found)) or None


def _unkey_credits(
    item: Mapping[str, Any], metadata: dict[str, Any], notes: Notes
) -> dict[str, Any]:
    """Return the field `credits`; nothing for a key without credits.

    With 0 left, return the status disabled and count it in `notes`. A refill that Unkey makes by
    itself is added to the metadata and counted in `notes`.
    """
    of_version_2 = _object(item, "credits")
    left = item.get("remaining")
    if left is None:
        left = of_version_2.get("remaining")
    refill = _object(item, "refill") or _object(of_version_2, "refill")
    if left is None:
        return {}
    if refill:
        metadata["unkey.refill"] = dict(refill)
        notes["credits that refill by themselves, kept in the metadata and not refilled"] += 1
    if left == 0:
        notes["no credits left, disabled"] += 1
        return {"status": "disabled"}
    return {"credits": left}


def _object(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def _texts(item: Mapping[str, Any], name: str) -> list[str]:
    """Return the names in a list of texts, or of objects with a name; others are left out.

    Empty if the member is missing or no list.
    """
    value = item.get(name)
    given = value if isinstance(value, list) else []
    named = [part.get("name") if isinstance(part, dict) else part for part in given]
    return [part for part in named if isinstance(part, str)]
