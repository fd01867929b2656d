"""ChangeKeys: one change of every key that matches a filter, as a stream of outcomes."""

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from authz.core import secret_changes
from authz.core.access import visible
from authz.core.changes import Author, KeyChange, Outcome, Refused, Unchanged
from authz.core.deletion import Removal
from authz.core.edits import Disable, Enable, Revoke
from authz.core.errors import BadInput, Forbidden, NotFound, Unavailable
from authz.core.records import KeyRecord
from authz.core.roles import Action
from authz.core.selector import Selector
from authz.flows.admin_flows import AdminFlows
from authz.flows.bulk_change import Failed, Plan, Skipped, Step
from authz.flows.by import By
from authz.flows.conditions import Conditions, Guard
from authz.flows.confirmation import Extent
from authz.flows.lifecycle import Changed
from authz.flows.selection import CHUNK, Keep
from authz.rpc.admin.api_error import refused
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.guards import guard
from authz.rpc.admin.key_fields import planned_update
from authz.rpc.admin.key_messages import confirmation_message, key_message, outcome_message
from authz.rpc.admin.keys_service import OVERLAP_MS, revocation_reason
from authz.rpc.admin.paging import selection_for
from authz.rpc.admin.values import duration_ms, kid_of, name_of, note_of, wait_seconds
from authz.rpc.pb.admin.v1 import keys_pb2

DEFAULT_MOST: Final = 1000
MAX_MOST: Final = 1_000_000
MAX_NAMES: Final = 10_000

_REASONS: Final[dict[type, str]] = {Refused: "STATE_FORBIDS", Failed: "FAILED"}

Request = keys_pb2.ChangeKeysRequest
Response = keys_pb2.ChangeKeysResponse


@dataclass(slots=True)
class _Task:
    """A change of many keys. texts: by kid, the text of each rotated key; `plan` adds it."""

    action: Action
    plan: Plan
    texts: dict[str, str] = field(default_factory=dict, repr=False)


class BulkChanges:
    """The method ChangeKeys of authz.admin.v1.Keys."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows

    async def change_keys(self, request: Request, context: CallContext) -> AsyncIterator[Response]:
        """Change the keys that match and that the caller may see. Yield the outcome of each.

        With `validate_only`, change nothing and yield what would happen. Otherwise with `wait_time`
        the last response is the confirmation. A refused or failed key has an `error` in its
        response. Raises BadInput for a wrong field, Forbidden if the roles never allow the change,
        and as `_kids`.
        """
        wait = wait_seconds(request.wait_time)
        by = By(context.caller.actor, note_of(request.note), context.source, context.call_id)
        if request.WhichOneof("change") == "delete":
            async for response in self._delete(request, context, by, wait):
                yield response
            return
        task = self._task(request)
        _require(context, task.action)
        selector, kids = await self._kids(request, context)
        for unknown in _unknown(request, kids):
            yield unknown
        plan, bulk = _guarded(task.plan, guard(context.caller, task.action)), self._flows.bulk
        revokes = task.action is Action.REVOKE
        if request.validate_only:
            rehearsal = bulk.rehearse(kids, plan, by, selector=selector, revokes=revokes)
            async for kid, planned in rehearsal:
                yield _rehearsed(kid, planned)
            return
        extent = Extent()
        steps = bulk.carry_out(kids, plan, by, selector=selector, extent=extent, revokes=revokes)
        async for batch in steps:
            for step in batch:
                yield _response(step, task.texts.pop(step.kid, ""))
        if wait:
            yield await self._confirmed(extent, wait)

    async def _delete(
        self, request: Request, context: CallContext, by: By, wait: float
    ) -> AsyncIterator[Response]:
        """Delete the keys, and yield the outcome of each, as `change_keys` does."""
        _require(context, Action.DELETE)
        selector, kids = await self._kids(request, context)
        for unknown in _unknown(request, kids):
            yield unknown
        dry_run, extent = request.validate_only, Extent()
        conditions = Conditions(guard(context.caller, Action.DELETE), dry_run=dry_run)
        steps = self._flows.deletion.carry_out(
            kids,
            by,
            is_forced=request.delete.force,
            selector=selector,
            extent=extent,
            conditions=conditions,
        )
        async for batch in steps:
            for step in batch:
                response = _response(step, "")
                if dry_run and response.HasField("outcome"):
                    response.outcome.changed = False
                yield response
        if wait and not dry_run:
            yield await self._confirmed(extent, wait)

    async def _kids(
        self, request: Request, context: CallContext
    ) -> tuple[Selector | None, list[str]]:
        """Return the selector and the kids of the keys that match and that the caller may see.

        The selector is None and the list empty if the caller can see no such key. Raises ApiError
        if there are more than `max_keys` (0: 1000), BadInput for an empty or wrong filter.
        """
        if not (request.filter.strip() or request.names):
            raise BadInput("filter", "must not be empty; it says which keys are changed")
        if len(request.names) > MAX_NAMES:
            raise BadInput("names", f"at most {MAX_NAMES}")
        if not 0 <= request.max_keys <= MAX_MOST:
            raise BadInput("max_keys", f"1 to {MAX_MOST}")
        most = request.max_keys or DEFAULT_MOST
        selector, keep = selection_for(context.caller, Action.READ_KEYS, request.filter)
        kids: list[str] = []
        if selector is None:
            return None, kids
        if request.names:
            return selector, await self._named(request.names, most, keep)
        async for entry in self._flows.selection.each(selector, keep=keep):
            kids.append(entry.kid)
            if len(kids) > most:
                raise refused(f"more than {most} keys match; raise max_keys or narrow the filter")
        return selector, kids

    async def _named(self, names: Iterable[str], most: int, keep: Keep | None) -> list[str]:
        """Return the kids of these names that the caller may see, each once."""
        kids = list(dict.fromkeys(kid_of("names", name) for name in names))
        if len(kids) > most:
            raise refused(f"{len(kids)} keys are more than max_keys; raise it")
        if keep is None:
            return kids
        found: list[str] = []
        for start in range(0, len(kids), CHUNK):
            entries = await self._flows.selection.read(kids[start : start + CHUNK])
            found += [entry.kid for entry in entries if entry.record and keep(entry.record)]
        return found

    def _task(self, request: Request) -> _Task:
        """Return the change that a request asks for. Raises BadInput if it has none."""
        match request.WhichOneof("change"):
            case "update":
                return self._update(request.update)
            case "rotate":
                return self._rotation(request.rotate)
            case "revoke":
                reason = revocation_reason(request.revoke.reason)
                return _Task(Action.REVOKE, Revoke(reason).plan)
            case "disable":
                return _Task(Action.DISABLE, Disable().plan)
            case "enable":
                return _Task(Action.ENABLE, Enable().plan)
        raise BadInput("change", "one of update, rotate, revoke, disable, enable and delete")

    def _update(self, wanted: Request.Update) -> _Task:
        edit = planned_update(wanted, self._flows.plans, self._flows.clock.wall_ms())
        for name in ("env", "public"):
            if getattr(wanted.key, name):
                raise BadInput(f"update.key.{name}", "never changes; issue new keys")
        return _Task(Action.UPDATE, edit.plan)

    def _rotation(self, wanted: Request.Rotate) -> _Task:
        overlap, ring = OVERLAP_MS, self._flows.keyring
        if wanted.HasField("overlap"):
            overlap = duration_ms("rotate.overlap", wanted.overlap)
        texts: dict[str, str] = {}

        def plan(record: KeyRecord, now: int, author: Author) -> Outcome:
            minted = ring.mint(record.env, record.kid, public=record.public)
            outcome = secret_changes.rotate(record, minted, overlap, author, now)
            if isinstance(outcome, KeyChange):
                texts[record.kid] = minted.text
            return outcome

        return _Task(Action.ROTATE, plan, texts)

    async def _confirmed(self, extent: Extent, wait: float) -> Response:
        try:
            found = await self._flows.wait.for_all(extent, wait)
        except Unavailable:
            problem = "the store could not be read while waiting for the sidecars"
            return Response(confirmation=confirmation_message(problem))
        return Response(confirmation=confirmation_message(found))


def _require(context: CallContext, action: Action) -> None:
    if visible(context.caller, action).is_empty:
        raise Forbidden("your roles do not allow this change")


def _guarded(plan: Plan, check: Guard) -> Plan:
    """Return a plan that returns Refused for a change that the caller may not make."""

    def guarded(record: KeyRecord, now: int, author: Author) -> Outcome | Removal:
        try:
            check(record, None)
            outcome = plan(record, now, author)
            if isinstance(outcome, KeyChange):
                check(record, outcome.record)
        except (NotFound, Forbidden) as cause:
            return Refused(str(cause))
        return outcome

    return guarded


def _rehearsed(kid: str, planned: Outcome | Removal | Failed) -> Response:
    response = Response(name=name_of(kid))
    match planned:
        case KeyChange():
            response.key.CopyFrom(key_message(planned.record))
            response.outcome.SetInParent()
        case Unchanged():
            response.key.CopyFrom(key_message(planned.record))
            response.outcome.CopyFrom(outcome_message(planned))
        case Refused(why) | Failed(why):
            return _failure(response.name, why, _REASONS[type(planned)])
    return response


def _unknown(request: Request, kids: Collection[str]) -> list[Response]:
    """Return a failure for each name of a request whose kid is not among these."""
    known = frozenset(map(name_of, kids))
    return [
        _failure(name, f"no key has the kid {kid_of('names', name)}", "KEY_NOT_FOUND")
        for name in request.names
        if name not in known
    ]


def _failure(name: str, why: str, reason: str) -> Response:
    return Response(name=name, error=why, reason=reason)


def _response(step: Step, text: str) -> Response:
    response = Response(name=name_of(step.kid))
    match step.outcome:
        case Changed():
            response.key.CopyFrom(key_message(step.outcome.record))
            response.outcome.CopyFrom(outcome_message(step.outcome))
            response.api_key = text
        case Unchanged():
            response.key.CopyFrom(key_message(step.outcome.record))
            response.outcome.CopyFrom(outcome_message(step.outcome))
        case Skipped():
            why = "was changed meanwhile and no longer matches the filter"
            return _failure(response.name, why, "NO_LONGER_MATCHES")
        case Refused(why) | Failed(why):
            return _failure(response.name, why, _REASONS[type(step.outcome)])
    return response
