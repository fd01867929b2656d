"""The Check handler of a sidecar in a run, with rules that SIGHUP reloads as in `authz serve`."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.budgets.learned import Estimates
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.limits.key_limits import LimitPolicy
from authz.core.ports import Clock, Probe
from authz.flows.check import Checker
from authz.flows.limits.limiter import Limiter
from authz.flows.partitioned.check import PartitionedChecker
from authz.process.ending import Ending
from authz.rpc.check.handler import CheckHandler
from authz.rpc.check.response_parts import ChargeIds
from authz.settings.model import Settings, load
from authz.wiring.components import Reloadable
from authz.wiring.extraction import extractor, responder
from authz.wiring.file_changes import FileChanges
from authz.wiring.live_settings import LiveSettings, ReloadTarget, settings_hash
from authz.wiring.serving import keep_reloading, listen_for_hangup, reread
from tests.chaos.history import Outcome
from tests.support.fakes import make_keyring
from tests.support.tokens import ISSUER

TELL_SECONDS: Final = 0.02  # between two looks at the report of the settings
OUTCOMES: Final = {
    (Reason.REVOKED, False): Outcome.REVOKED,
    (Reason.REVOKED, True): Outcome.REVOKED,
    (Reason.DISABLED, False): Outcome.DISABLED,
    (Reason.DISABLED, True): Outcome.STALE_DISABLED,
    (Reason.SECRET_RETIRED, False): Outcome.ROTATED,
    (Reason.SECRET_RETIRED, True): Outcome.STALE_ROTATED,
    (Reason.FORGED, False): Outcome.UNKNOWN,  # a token whose signing key is not in the store
    # A token has its times by the sidecar's clock, which a fault moves.
    (Reason.TOKEN_EXPIRED, False): Outcome.UNAVAILABLE,
    (Reason.NOT_YET_VALID, False): Outcome.UNAVAILABLE,
    (Reason.UNKNOWN_KEY, False): Outcome.UNKNOWN,
    (Reason.UNAVAILABLE, False): Outcome.UNAVAILABLE,
    (Reason.UNAVAILABLE, True): Outcome.UNAVAILABLE,  # a stale record, between both clocks
    (Reason.INSUFFICIENT_SCOPE, False): Outcome.NO_SCOPE,
    (Reason.INSUFFICIENT_SCOPE, True): Outcome.STALE_NO_SCOPE,
}


class _NoLimits:
    """A SpendStore that is never asked: no key of a run has limits."""

    is_open = True

    def spend(self, *_call: object) -> None:
        """Implement SpendStore.spend."""
        raise AssertionError("a key without limits was charged")


class CarelessSettings:
    """A mutant of LiveSettings: it takes half a file, and the defaults for one with a mistake."""

    def __init__(
        self, settings: Settings, read: Callable[[], Settings], target: ReloadTarget, _clock: Clock
    ) -> None:
        self._settings, self._read, self._target = settings, read, target

    def report(self) -> dict[str, object]:
        """Return version and reason, as LiveSettings.report does."""
        return {"version": settings_hash(self._settings), "reason": ""}

    async def reload(self) -> None:
        """Use whatever the file has."""
        try:
            self._settings = self._read()
        except BadInput:
            self._settings = load(environ={})
        self._target.prepare(self._settings)()


class LiveRules:
    """Answers CheckRequests by the rules of a settings file.

    settings_type: LiveSettings or a mutant.
    """

    def __init__(
        self,
        checker: Checker | PartitionedChecker,
        clock: Clock,
        probe: Probe,
        file: Path,
        settings_type: type[LiveSettings] | type[CarelessSettings],
    ) -> None:
        self._changes = FileChanges(lambda: [file])
        ring, settings, ids = make_keyring(issuer=ISSUER), load(file, environ={}), ChargeIds()
        reader = extractor(settings, ring)
        self._handler = CheckHandler(reader, checker, responder(settings, reader, ids), probe)
        limiter = Limiter(_NoLimits(), LimitPolicy(), clock, probe, max_keys=1)
        target = Reloadable(ring, self._handler, (limiter,), ids, Estimates(is_wanted=False))
        read = partial(load, file, environ={})
        if settings_type is LiveSettings:
            read = partial(reread, read, self._changes)
        self._settings = settings_type(settings, read, target, clock)

    async def run(self) -> None:
        """Reload at each SIGHUP and each change of the file. Print every other report."""
        requested = asyncio.Event()
        listen_for_hangup(requested, Ending())
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_reloading(self._settings, requested, self._changes))
            group.create_task(self._tell())

    async def answer(self, raw: bytes) -> Outcome:
        """Return the outcome of a serialised CheckRequest."""
        found = self._handler.check(raw)
        response = CheckResponse.FromString(found if isinstance(found, bytes) else await found)
        members = response.dynamic_metadata.fields
        stale = members["stale"].bool_value
        if response.HasField("ok_response"):
            return Outcome.STALE_ALLOW if stale else Outcome.ALLOW
        return OUTCOMES.get((members["reason"].string_value, stale), Outcome.OTHER)

    async def _tell(self) -> None:
        told = None
        while True:
            await asyncio.sleep(TELL_SECONDS)
            report = self._settings.report()
            now = {name: report[name] for name in ("version", "reason")}
            if now != told:
                print(json.dumps(now), flush=True)
                told = now
