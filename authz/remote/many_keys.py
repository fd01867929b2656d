"""RemoteManyKeys: makes one change to many keys over the admin API."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from authz.core.changes import Outcome, Refused, Unchanged
from authz.core.deletion import Removal
from authz.core.edits import Edit, Revoke, Rotate, is_relative
from authz.core.errors import BadInput, NotFound, OutcomeUnknown, Unavailable
from authz.core.keys.credentials import Minted
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.selector import Selector
from authz.core.sidecars import Confirmation
from authz.flows.bulk_change import MAYBE_ADDED, Failed, Skipped, Step, planned
from authz.flows.by import By
from authz.flows.command_ports import KeyFinder
from authz.flows.confirmation import Extent
from authz.flows.lifecycle import Changed
from authz.flows.revocable import revocable
from authz.flows.selection import Cost, Entry
from authz.remote.calls import Calls
from authz.remote.editor import LEAST_WAIT, NO_ANSWER, RemoteEditor, waited
from authz.remote.reading import read_record
from authz.remote.records import kid_of, record_of, result_of
from authz.remote.requests import bulk_change, filter_of
from authz.rpc.admin.values import duration, name_of
from authz.rpc.pb.admin.v1 import keys_pb2

NAMES: Final = 1000  # keys of one call
MAX_WAIT: Final = 60.0  # seconds, of one call


class RemoteManyKeys:
    """ManyKeysEditor over the admin API.

    A change that must not be made twice goes key by key, each on the version that was read.
    """

    def __init__(self, calls: Calls, editor: RemoteEditor, finder: KeyFinder, clock: Clock) -> None:
        self._calls = calls
        self._editor = editor
        self._finder = finder
        self._clock = clock
        self._answers: list[tuple[Confirmation | None, str]] = []

    async def rehearse(
        self, kids: Sequence[str], edit: Edit, by: By, selector: Selector
    ) -> AsyncIterator[tuple[str, Outcome | Removal | Failed]]:
        """Yield for each key the change that `carry_out` would make."""
        wanted, unreadable = frozenset(kids), list[str]()
        if isinstance(edit, Rotate):
            edit = replace(edit, mint=_stand_in)
        async for entry in self._finder.each(selector, Cost()):
            if entry.kid not in wanted:
                continue
            if entry.record is None and isinstance(edit, Revoke):
                unreadable.append(entry.kid)
                continue
            yield entry.kid, planned(entry, edit.plan, self._clock.wall_ms(), by)
        async for step in self._rehearsed(unreadable, edit, by, selector):
            yield step

    async def _rehearsed(
        self, kids: Sequence[str], edit: Edit, by: By, selector: Selector
    ) -> AsyncIterator[tuple[str, Outcome | Removal | Failed]]:
        """Yield the rehearsals of the server, which can revoke a record with a bad seal."""
        for start in range(0, len(kids), NAMES):
            request = _request(kids[start : start + NAMES], edit, by, selector)
            request.validate_only = True
            async for response in self._calls.stream(self._calls.client.keys.ChangeKeys, request):
                if response.error:
                    yield kid_of(response.name), Failed(response.error)
                    continue
                entry = Entry(kid_of(response.name), revocable(record_of(response.key)))
                yield entry.kid, planned(entry, edit.plan, self._clock.wall_ms(), by)

    async def carry_out(
        self,
        kids: Sequence[str],
        edit: Edit,
        by: By,
        *,
        selector: Selector,
        extent: Extent,
        wait_seconds: float | None,
    ) -> AsyncIterator[Sequence[Step]]:
        """Change the keys and yield their outcomes. The server waits at the end of each call."""
        if is_relative(edit):
            for kid in kids:
                step = Step(kid, await self._once(kid, edit, by, selector, wait_seconds))
                _add(extent, step)
                yield [step]
            return
        for start in range(0, len(kids), NAMES):
            request = _request(kids[start : start + NAMES], edit, by, selector)
            if wait_seconds is not None:
                wait = min(max(wait_seconds, LEAST_WAIT), MAX_WAIT)
                request.wait_time.CopyFrom(duration(round(wait * 1000)))
            method = self._calls.client.keys.ChangeKeys
            async for response in self._calls.stream(method, request, makes_changes=True):
                if response.HasField("confirmation"):
                    self._answers.append(waited(response.confirmation))
                else:
                    step = _step(response)
                    _add(extent, step)
                    yield [step]

    async def confirmation(self, extent: Extent, wait_seconds: float) -> Confirmation:
        """Return the worst answer of the sidecars: an incomplete one, then the fewest confirmed.

        Its time is the sum of all calls. Raises Unavailable if a call has no answer.
        """
        del extent, wait_seconds
        for found, problem in self._answers:
            if found is None:
                raise Unavailable(problem)
        found_all = [found for found, _ in self._answers if found is not None]
        if not found_all:
            raise Unavailable(NO_ANSWER)
        worst = min(found_all, key=lambda found: (found.is_complete, found.confirmed))
        return replace(worst, elapsed_ms=sum(found.elapsed_ms for found in found_all))

    async def _once(
        self, kid: str, edit: Edit, by: By, selector: Selector, wait_seconds: float | None
    ) -> Changed | Unchanged | Failed | Refused | Skipped:
        try:
            before = await read_record(self._calls, kid)
            if not selector.matches(before, self._clock.wall_ms()):
                return Skipped()
            effect = await self._editor.change_from(before, kid, edit, by, wait_seconds)
        except OutcomeUnknown:
            return Failed(MAYBE_ADDED)
        except (NotFound, BadInput) as cause:
            return Failed(str(cause))
        if isinstance(effect.result, Changed) and wait_seconds is not None:
            self._answers.append((effect.confirmation, effect.problem))
        return effect.result


_OUTCOMES: Final[Mapping[str, type[Refused] | type[Failed]]] = {"STATE_FORBIDS": Refused}


def _request(
    kids: Sequence[str], edit: Edit, by: By, selector: Selector
) -> keys_pb2.ChangeKeysRequest:
    request = bulk_change(edit)
    request.names.extend(map(name_of, kids))
    request.filter, request.note, request.max_keys = filter_of(selector), by.note, NAMES
    return request


def _step(response: keys_pb2.ChangeKeysResponse) -> Step:
    kid = kid_of(response.name)
    if response.reason == "NO_LONGER_MATCHES":
        return Step(kid, Skipped())
    if response.error:
        return Step(kid, _OUTCOMES.get(response.reason, Failed)(response.error))
    return Step(kid, result_of(response.key, response.outcome, response.api_key))


def _add(extent: Extent, step: Step) -> None:
    if isinstance(step.outcome, Changed):
        extent.version = max(extent.version, step.outcome.record.version)
        extent.add_replicas(step.outcome.replicas)


def _stand_in(record: KeyRecord) -> Minted:
    """Return a secret for a rehearsal. The server makes the real one."""
    return Minted(record.kid, record.env, record.newest_secret.pepper, "", b"")
