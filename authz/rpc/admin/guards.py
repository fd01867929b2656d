"""The rights of a caller as guards of changes, and the records that a caller may see.

A key outside of the caller's tenants and projects is answered as a key that does not exist.
"""

from typing import Final

from authz.core.access import Caller, may, visible
from authz.core.admin_ports import RecordReader
from authz.core.errors import Forbidden, NotFound
from authz.core.narrowing import narrows
from authz.core.records import KeyRecord
from authz.core.roles import Action
from authz.flows.conditions import Guard

_VERBS: Final = {
    Action.UPDATE: "update",
    Action.ROTATE: "rotate",
    Action.RETIRE: "retire secrets of",
    Action.REVOKE: "revoke",
    Action.DISABLE: "disable",
    Action.ENABLE: "enable",
    Action.DELETE: "delete",
    Action.RESET_LIMITS: "reset the limits of",
    Action.ERASE_USAGE: "erase the usage of",
}


def require_visible(caller: Caller, record: KeyRecord, action: Action = Action.READ_KEYS) -> None:
    """Raise NotFound, as for a key that does not exist, if the caller may not see the key.

    action: that makes keys visible.
    """
    if not visible(caller, action).covers(record.tenant_id, record.project_id):
        raise NotFound(f"no key has the kid {record.kid}")


async def sees_key(index: RecordReader, caller: Caller, kid: str, action: Action) -> bool:
    """Return whether a caller sees the key of a kid, by its tenant and project now.

    True also for a kid without a key if the caller sees every key. action: that makes keys visible.
    Raises Unavailable if the store fails.
    """
    seen = visible(caller, action)
    if seen.is_everything:
        return True
    (record,) = await index.read([kid])
    return isinstance(record, KeyRecord) and seen.covers(record.tenant_id, record.project_id)


def permits(caller: Caller, action: Action, record: KeyRecord) -> bool:
    """Return whether the caller may take an action on a key, by its tenant, project and scopes."""
    return may(caller, action, record.tenant_id, record.project_id, scopes=record.scopes)


def guard(caller: Caller, action: Action) -> Guard:
    """Return the guard of a change. It raises NotFound for a key that the caller may not see.

    Else it raises Forbidden if the action is not permitted. An update that only narrows a key needs
    NARROW. An update has to be permitted for the key before it and after it, so no caller moves a
    key out of its tenants, into them, or gives a key rights over this API that it may not give.
    Without `after` an update passes.
    """

    def check(before: KeyRecord, after: KeyRecord | None) -> None:
        require_visible(caller, before)
        if action is not Action.UPDATE:
            _require(caller, action, before)
        elif after is not None:
            needed = Action.NARROW if narrows(before, after) else Action.UPDATE
            _require(caller, needed, before)
            _require(caller, needed, after)

    return check


def _require(caller: Caller, action: Action, record: KeyRecord) -> None:
    if permits(caller, action, record):
        return
    if action is Action.NARROW:
        raise Forbidden(f"you may not change keys/{record.kid}")
    raise Forbidden(f"you may not {_VERBS.get(action, action.value)} keys/{record.kid} like this")
