"""Narrowing: whether a change only takes rights away. Such a change also applies on a full store.

The rule is strict: a change counts as narrowing only if that is certain for every field. A rotation
never counts, because it adds a secret.
"""

from collections.abc import Collection
from dataclasses import replace
from itertools import zip_longest
from typing import Final

from authz.core.limits.limit import Limit
from authz.core.limits.throttle import Throttle
from authz.core.records import STATUS_CHANGES, KeyRecord, Secret, Status
from authz.core.scopes import is_held

# Fields that identify the key or describe it. A change of one of these is not narrowing.
_IDENTITY: Final = (
    *("kid", "env", "name", "client_id", "project_id", "tenant_id", "plan"),
    *("created_at", "metadata", "on_outage", "public", "unknown"),
)


def narrows(before: KeyRecord, after: KeyRecord) -> bool:
    """Return whether `after` certainly takes rights away and gives none. False if nothing differs.

    False also if a field changed that identifies or describes the key.
    """
    return (
        after != before
        and _status_narrows(before.status, after.status)
        and all(getattr(before, name) == getattr(after, name) for name in _IDENTITY)
        and all(is_held(scope, before.scopes) for scope in after.scopes)
        and _restricts(before.allowed_cidrs, after.allowed_cidrs)
        and _restricts(before.allowed_hosts, after.allowed_hosts)
        and _restricts(before.allowed_origins, after.allowed_origins)
        and (after.not_before or 0) >= (before.not_before or 0)
        and _ends_no_later(before.expires_at, after.expires_at)
        and _grace_no_longer(before.outage_grace, after.outage_grace)
        and _throttle_no_weaker(before.throttle, after.throttle)
        and _limits_no_higher(before.limits, after.limits, may_add=not before.plan)
        and _secrets_end_no_later(before.secrets, after.secrets)
    )


def _status_narrows(before: Status, after: Status) -> bool:
    return after is before or (after is not Status.ACTIVE and after in STATUS_CHANGES[before])


def _restricts(before: Collection[object], after: Collection[object]) -> bool:
    """Return whether `after` allows no more than `before`. An empty list allows everything."""
    return not before or (bool(after) and set(after) <= set(before))


def _ends_no_later(before: int | None, after: int | None) -> bool:
    """Return whether `after` is not later than `before`. None means never."""
    return after == before or (after is not None and (before is None or after <= before))


def _grace_no_longer(before: int | None, after: int | None) -> bool:
    """Return whether the grace is certainly not longer: the same, 0, or less.

    None is the sidecar's grace, which is unknown here.
    """
    return after in {before, 0} or (after is not None and before is not None and after <= before)


def _throttle_no_weaker(before: Throttle | None, after: Throttle | None) -> bool:
    """Return whether the rates are lowered at least as much, for at least as long."""
    return before is None if after is None else after.is_no_weaker(before)


def _limits_no_higher(
    before: tuple[Limit, ...], after: tuple[Limit, ...], *, may_add: bool
) -> bool:
    """Return whether `after` has the same limits in the same order, none of them higher.

    False if a limit was removed, or is no longer enforced. may_add: whether further ones may
    follow. Those of a key with a plan can replace a lower limit of the plan.
    """
    return all(
        may_add
        if old is None
        else new is not None
        and replace(old, limit=new.limit, burst=new.burst, enforce=new.enforce) == new
        and new.limit <= old.limit
        and _burst_no_higher(old.burst, new.burst)
        and (old.is_token_bucket or not new.is_token_bucket)  # it has no window
        and (new.enforce or not old.enforce)
        for old, new in zip_longest(before, after)
    )


def _burst_no_higher(before: int | None, after: int | None) -> bool:
    """Return whether the burst is not higher.

    None: no burst, so the limit is counted in another way. False if only one of them is None.
    """
    return after == before or (before is not None and after is not None and after <= before)


def _secrets_end_no_later(before: tuple[Secret, ...], after: tuple[Secret, ...]) -> bool:
    """Return whether `after` has the same secrets in the same order, none living longer.

    False if one was added or removed. A digest may have been dropped.
    """
    return all(
        old is not None
        and new is not None
        and (old.id, old.pepper, old.created_at) == (new.id, new.pepper, new.created_at)
        and new.digest in {old.digest, b""}
        and _ends_no_later(old.retires_at, new.retires_at)
        for old, new in zip_longest(before, after)
    )
