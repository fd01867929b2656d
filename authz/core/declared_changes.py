"""Changes that make a key as a file declares it, planned from the merge of both."""

from dataclasses import replace
from typing import Final, cast

from authz.core.changes import Refused, Unchanged
from authz.core.edits import Disable, Edit, Enable, Revoke, Update
from authz.core.errors import BadInput
from authz.core.merging import Clash, Merge
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import KeyRecord, RevocationReason, Status
from authz.core.updates import Updates

_OWNERS: Final = ("client_id", "project_id", "tenant_id")
_NO_CANARY: Final = "status: a file makes no canary key; `authz keys issue --canary` makes one"

Planned = Edit | Refused | Unchanged
"""An edit of a key, or why there is none."""


AsOf = int | tuple[int, ...]
"""The number of the last change when a file was made; of each partition if there are several."""


def is_within(record: KeyRecord, as_of: AsOf, partitions: Partitions) -> bool:
    """Return whether a file that was made then may have the record. False for another store's."""
    numbers = as_of if isinstance(as_of, tuple) else (as_of,)
    is_ours = len(numbers) == partitions.count
    return is_ours and record.version <= numbers[partitions.home_of(record)]


def problem_of_move(
    record: KeyRecord, declared: KeyRecord, merged: Merge, partitions: Partitions
) -> str:
    """Return the reason why a stored key cannot get the declared owner; empty if it can."""
    client, project, tenant = (
        getattr(declared if name in merged.wanted else record, name) for name in _OWNERS
    )
    after = replace(record, client_id=client, project_id=project, tenant_id=tenant)
    return partitions.problem_of_move(record, after)


def problem(record: KeyRecord, merged: Merge) -> str:
    """Return the reason why a stored key cannot be made as declared; empty if it can."""
    if merged.clashes:
        return "changed in the store, too: " + "; ".join(map(_in_words, merged.clashes))
    if record.status is Status.REVOKED and merged.wanted:
        return "is revoked, which is final; take it out of the file"
    if merged.wanted.get("status") == Status.CANARY.value:
        return _NO_CANARY
    return ""


def problem_of_new(record: KeyRecord) -> str:
    """Return the reason why a declared key that is new cannot be issued; empty if it can.

    It would work, although the file says that it never does.
    """
    if record.status is Status.REVOKED:
        return "status: a new key cannot be revoked; take it out of the file"
    return _NO_CANARY if record.status is Status.CANARY else ""


def set_fields(record: KeyRecord, declared: KeyRecord, merged: Merge) -> Planned:
    """Return the edit that sets the wanted fields, apart from the status, to those of `declared`.

    Returns Refused for a clash or a revoked key, Unchanged if nothing is wanted.
    """
    if why := problem(record, merged):
        return Refused(why)
    names = merged.wanted.keys() - {"status"}
    if not names:
        return Unchanged(record, f"{record.kid} is so already")
    return Update(fields=cast("Updates", {name: getattr(declared, name) for name in names}))


def set_status(record: KeyRecord, merged: Merge) -> Planned:
    """Return the edit that sets the wanted status.

    Returns Refused for a clash, or if a revoked key shall be active or disabled. Returns Unchanged
    if no other status is wanted. The reason of a revocation is UNSPECIFIED.
    """
    if why := problem(record, merged):
        return Refused(why)
    match merged.wanted.get("status"):
        case "active":
            return Enable()
        case "disabled":
            return Disable()
        case "revoked":
            return Revoke(RevocationReason.UNSPECIFIED)
        case _:
            return Unchanged(record, f"{record.kid} is so already")


def new_key(record: KeyRecord, now: int) -> KeySpec:
    """Return the fields of a declared key that is new.

    `now`: ms since the epoch. Raises BadInput if it would be over already.
    """
    if record.expires_at is not None and record.expires_at <= now:
        raise BadInput("expires_at", "the key would be over before it begins")
    return KeySpec(
        client_id=record.client_id,
        env=record.env,
        name=record.name,
        project_id=record.project_id,
        tenant_id=record.tenant_id,
        plan=record.plan,
        limits=record.limits,
        on_outage=record.on_outage,
        scopes=record.scopes,
        not_before=record.not_before,
        life_ms=None,
        expires_at=record.expires_at,
        allowed_cidrs=record.allowed_cidrs,
        allowed_hosts=record.allowed_hosts,
        allowed_origins=record.allowed_origins,
        metadata=record.metadata,
        outage_grace=record.outage_grace,
        public=record.public,
    )


def _in_words(clash: Clash) -> str:
    return f"{clash.name}: the file has {clash.declared!r}, the store {clash.stored!r}"
