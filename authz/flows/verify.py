"""Verifier: what a Check would decide on a request with a key, and what each of its checks says."""

from dataclasses import dataclass
from typing import Final

from authz.core import policy
from authz.core.decision import Allow, Decision, Deny, Reason, decide_by_limits
from authz.core.errors import UnknownPlan, Unreadable
from authz.core.keys.credentials import Alias, Imported, Presented
from authz.core.limits.limit import OnOutage
from authz.core.ports import Clock, ImportStore, KeyStore, PepperProof
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.flows.limits.limit_report import LimitReport, LimitReports

# In the order of a Check. What stands before the policy's own needs no record.
CHECKS: Final = ("request", "shape", "checksum", "tag", "known", *policy.NAMES, "limits")

_OF_THE_KEY: Final = {
    Reason.MALFORMED,
    Reason.AMBIGUOUS_CREDENTIAL,
    Reason.MISPLACED_CREDENTIAL,
    Reason.MISSING_CREDENTIAL,
    Reason.UNRECOGNIZED_CREDENTIAL,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision of a Check. `said`: each check that was reached, with its refusal or None.

    All checks of the policy are reached once the record is known, though the first refusal wins.
    `record` is for the operator: a Deny before the secret is proven holds none.
    """

    decision: Decision
    said: dict[str, Reason | None]
    record: KeyRecord | None = None
    fault: str = ""
    standing: LimitReport | None = None


class Verifier:
    """Decides as a Checker does, on the store's own word, and explains it. Takes from no limit.

    imports: where imported keys are found; None when the store says that there are none.
    """

    def __init__(
        self,
        store: KeyStore,
        peppers: PepperProof,
        clock: Clock,
        standings: LimitReports,
        imports: ImportStore | None = None,
    ) -> None:
        self._store = store
        self._peppers = peppers
        self._clock = clock
        self._imports = imports
        self._standings = standings

    async def verify(self, request: Request) -> Verdict:
        """Judge a request as it was read. Raises Unavailable when the store cannot be asked."""
        presented = request.credential
        if presented is None and request.route.optional:
            return Verdict(Allow(None), {"request": None, "shape": None})
        if presented is None:
            return _refused("shape", Reason.MISSING_CREDENTIAL)
        if isinstance(presented, Deny):
            reason = presented.reason
            return _refused("shape" if reason in _OF_THE_KEY else "request", reason)
        if isinstance(presented, Imported):
            return await self._verify_imported(presented, request)
        flaw = presented.flaw()
        if flaw == "checksum":
            return _refused(flaw, Reason.MALFORMED)
        if flaw == "tag":
            proven = self._peppers.refutes(presented.pepper_version)
            return _refused(flaw, Reason.FORGED if proven else Reason.UNAVAILABLE)
        return await self._judge(presented, request)

    async def _verify_imported(self, imported: Imported, request: Request) -> Verdict:
        if self._imports is None:
            return _refused("shape", Reason.MALFORMED)
        alias = await resolve(self._imports, imported)
        if alias is None:
            return _refused("known", Reason.UNKNOWN_KEY)
        return await self._judge(alias, request)

    async def _judge(self, presented: Presented | Alias, request: Request) -> Verdict:
        try:
            record = await self._store.find(presented.kid)
        except Unreadable as cause:
            return _refused("known", Reason.UNAVAILABLE, str(cause))
        if record is None:
            return _refused("known", Reason.UNKNOWN_KEY)
        now = self._clock.wall_ms()
        said = _passed("known") | dict(policy.examine(record, presented, request, now))
        refusal = policy.judge(record, presented, request, now)
        limited, fault, standing = await self._limits(record, request)
        reason = limited.reason if isinstance(limited, Deny) else None
        return Verdict(refusal or limited, said | {"limits": reason}, record, fault, standing)

    async def _limits(
        self, record: KeyRecord, request: Request
    ) -> tuple[Decision, str, LimitReport | None]:
        """Return the decision of the limits on a request that is allowed otherwise."""
        try:
            standing = await self._standings.of(record, request.route.cost)
        except UnknownPlan as cause:
            return Deny(Reason.UNAVAILABLE, record), str(cause), None
        except Unreadable as cause:
            is_denied = self._standings.on_outage_of(record) is OnOutage.DENY
            found = Deny(Reason.UNAVAILABLE, record) if is_denied else Allow(record)
            return found, str(cause), None
        if standing is None:
            return Allow(record), "", None
        return decide_by_limits(record, standing.result()), "", standing


async def resolve(imports: ImportStore, imported: Imported) -> Alias | None:
    """The kid that an imported key leads to, under whichever pepper. Raises Unavailable."""
    digests = [digest for _, digest in imported.digests()]
    kids = await imports.resolve_all([[digest] for digest in digests])
    found = zip(kids, digests, strict=True)
    return next((Alias(kid, digest) for kid, digest in found if kid is not None), None)


def _passed(last: str) -> dict[str, Reason | None]:
    """All checks up to `last` have nothing against it."""
    return dict.fromkeys(CHECKS[: CHECKS.index(last) + 1])


def _refused(check: str, reason: Reason, fault: str = "") -> Verdict:
    return Verdict(Deny(reason), _passed(check) | {check: reason}, fault=fault)
