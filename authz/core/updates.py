"""The fields that an update may set, and the differences that it made."""

from collections.abc import Mapping
from typing import TypedDict

from authz.core.fields import Network
from authz.core.limits.limit import Limit, OnOutage
from authz.core.limits.throttle import Throttle
from authz.core.records import KeyRecord


class Updates(TypedDict, total=False):
    """New values of a key's fields, checked by `core.fields`. Other fields stay."""

    client_id: str
    project_id: str
    tenant_id: str
    plan: str
    limits: tuple[Limit, ...]
    on_outage: OnOutage | None
    throttle: Throttle | None
    name: str
    scopes: frozenset[str]
    not_before: int | None
    expires_at: int | None
    allowed_cidrs: tuple[Network, ...]
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    metadata: Mapping[str, str]
    outage_grace: int | None


def differences(before: KeyRecord, after: KeyRecord) -> dict[str, object]:
    """Return `{"old": ..., "new": ...}` as JSON values for each altered field of Updates.

    Empty if none differs. Other fields, such as the status and the secrets, are not compared.
    """
    old, new = plain(before), plain(after)
    return {
        name: {"old": old[name], "new": value} for name, value in new.items() if value != old[name]
    }


def plain(record: KeyRecord) -> dict[str, object]:
    """Return all fields that an update may set, by name, as JSON values; scopes are sorted."""
    return {
        "client_id": record.client_id,
        "project_id": record.project_id,
        "tenant_id": record.tenant_id,
        "plan": record.plan,
        "limits": list(map(str, record.limits)),
        "on_outage": record.on_outage,
        "throttle": str(record.throttle) if record.throttle else None,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "not_before": record.not_before,
        "expires_at": record.expires_at,
        "allowed_cidrs": [str(network) for network in record.allowed_cidrs],
        "allowed_hosts": list(record.allowed_hosts),
        "allowed_origins": list(record.allowed_origins),
        "metadata": dict(sorted(record.metadata.items())),
        "outage_grace": record.outage_grace,
    }
