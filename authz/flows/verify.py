"""Verifier: decides a request as a Check would, and tells the result of every check."""

from dataclasses import dataclass, field, replace
from typing import Final

from authz.core import policy
from authz.core.admin_ports import ImportStore, KeyStore
from authz.core.decision import Allow, Decision, Deny, Reason, decide_by_limits
from authz.core.errors import UnknownPlan, UnknownPrice, Unreadable
from authz.core.keys.credentials import Alias, Imported, Presented, matches
from authz.core.limits.limit import OnOutage
from authz.core.ports import Clock, PepperProof
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.core.tokens.presented import AcceptedToken, PresentedToken
from authz.flows.limits.limit_report import LimitReport, LimitReports
from authz.flows.tokens.gate import TokenGate

# In the order of a Check. The checks before those of the policy need no record.
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
    """The decision of a Check. results: each check that was reached, with its refusal or None.

    If the record is known, all checks of the policy are reached, though the first refusal wins.
    record: for the operator; the Deny of a caller without a proven secret holds no record.
    fault: why the record or its limits could not be read, or "". limit_report: None if there is
    none.
    """

    decision: Decision
    results: dict[str, Reason | None]
    record: KeyRecord | None = None
    fault: str = ""
    limit_report: LimitReport | None = None


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check in words. result: `ok`, `deny` or `skipped`. why: the facts; may be empty."""

    check: str
    result: str
    reason: Reason | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """A verdict in words. rows: one for each of CHECKS.

    reason: None for an allow. status, code: the answer that the caller would get. violated: the
    names of the limits without room for the request, enforced or not. kid, client_id: of the known
    key, else None. is_enforced: whether the route enforces refusals.
    """

    rows: tuple[CheckRow, ...]
    reason: Reason | None
    status: int
    code: str | None
    violated: tuple[str, ...]
    kid: str | None
    client_id: str | None
    is_enforced: bool

    def naming(self, kid: str) -> "VerdictView":
        """Return the view of a malformed key that names a kid: the denying check says so."""
        why = f"mistyped or cut off; it names {kid}"
        rows = (replace(row, why=why) if row.result == "deny" else row for row in self.rows)
        return replace(self, rows=tuple(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request to be decided, without the ways of one installation to carry a key.

    Empty: not given. cost: units; None for that of the route. model: that the body asks for.
    public: the route is marked for publishable keys; False: as the settings say.
    """

    key: str = field(repr=False)
    method: str = "GET"
    host: str = ""
    path: str = "/"
    client_address: str = ""
    origin: str = ""
    scopes: frozenset[str] = frozenset()
    env: str = ""
    cost: int | None = None
    model: str = ""
    public: bool = False


class Verifier:
    """Decides as a Checker does, but by the store instead of a cache. Takes from no limit.

    imports: finds imported keys; None if no keys were ever imported. tokens: accepts tokens; None
    if the settings name no issuer.
    """

    def __init__(
        self,
        store: KeyStore,
        peppers: PepperProof,
        clock: Clock,
        limit_reports: LimitReports,
        imports: ImportStore | None = None,
        *,
        tokens: TokenGate | None = None,
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._peppers = peppers
        self._clock = clock
        self._imports = imports
        self._limit_reports = limit_reports

    async def verify(self, request: Request) -> Verdict:
        """Return the verdict on a request. Reads the store and changes nothing.

        `fault` tells of an unreadable record, an unknown plan or unreadable counters. A key that
        the policy allows is then UNAVAILABLE, with unreadable counters only if its `on_outage` is
        `deny`. Raises Unavailable if the store is unreachable.
        """
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
        if isinstance(presented, PresentedToken):
            return await self._verify_token(presented, request)
        flaw = presented.flaw()
        if flaw == "checksum":
            return _refused(flaw, Reason.MALFORMED)
        if flaw == "tag":
            proven = self._peppers.refutes(presented.pepper_version)
            return _refused(flaw, Reason.FORGED if proven else Reason.UNAVAILABLE)
        return await self._judge(presented, request)

    async def verify_held(self, kid: str, request: Request) -> Verdict:
        """Return the verdict on a request that comes with a secret of this key.

        The secret is the newest that works, else the newest. The credential of `request` is not
        looked at, unless the request itself is refused. Raises as `verify`.
        """
        given = request.credential
        if isinstance(given, Deny) and given.reason not in _OF_THE_KEY:
            return _refused("request", given.reason)
        try:
            record = await self._store.find(kid)
        except Unreadable as cause:
            return _refused("known", Reason.UNAVAILABLE, str(cause))
        if record is None:
            return _refused("known", Reason.UNKNOWN_KEY)
        now = self._clock.wall_ms()
        live = [secret for secret in record.secrets if secret.is_live(now)]
        newest = max(live or record.secrets, key=lambda secret: secret.created_at)
        return await self._judge(Alias(kid, newest.digest), request)

    async def _verify_imported(self, imported: Imported, request: Request) -> Verdict:
        if self._imports is None:
            return _refused("shape", Reason.MALFORMED)
        alias = await resolve(self._imports, imported)
        if alias is None:
            return _refused("known", Reason.UNKNOWN_KEY)
        return await self._judge(alias, request)

    async def _verify_token(self, presented: PresentedToken, request: Request) -> Verdict:
        if self._tokens is None:
            return _refused("shape", Reason.MALFORMED)
        token = self._tokens.accept(presented, request.client_address)
        if isinstance(token, Deny):
            return _refused("shape" if token.reason is Reason.MALFORMED else "tag", token.reason)
        request.token = token
        return await self._judge(token, request)

    async def _judge(
        self, presented: Presented | Alias | AcceptedToken, request: Request
    ) -> Verdict:
        try:
            record = await self._store.find(presented.kid)
        except Unreadable as cause:
            return _refused("known", Reason.UNAVAILABLE, str(cause))
        if record is None:
            return _refused("known", Reason.UNKNOWN_KEY)
        now = self._clock.wall_ms()
        proof = presented.proof(record) if isinstance(presented, AcceptedToken) else presented
        results = _passed("known") | dict(policy.examine(record, proof, request, now))
        refusal = policy.judge(record, proof, request, now)
        limited, fault, report = await self._limits(record, request)
        reason = limited.reason if isinstance(limited, Deny) else None
        return Verdict(refusal or limited, results | {"limits": reason}, record, fault, report)

    async def _limits(
        self, record: KeyRecord, request: Request
    ) -> tuple[Decision, str, LimitReport | None]:
        """Return the decision on an otherwise allowed request, a fault (or empty), and the report.

        Faults: an unknown plan is UNAVAILABLE. Unreadable counters are UNAVAILABLE with `on_outage`
        of `deny`, else allowed. The report is None after a fault, and if the request takes nothing
        from any limit. Raises Unavailable if the store fails.
        """
        try:
            report = await self._limit_reports.of(record, request.route.cost)
        except (UnknownPlan, UnknownPrice) as cause:
            return Deny(Reason.UNAVAILABLE, record), str(cause), None
        except Unreadable as cause:
            is_denied = self._limit_reports.on_outage_of(record) is OnOutage.DENY
            found = Deny(Reason.UNAVAILABLE, record) if is_denied else Allow(record)
            return found, str(cause), None
        if report is None:
            return Allow(record), "", None
        return decide_by_limits(record, report.result()), "", report


async def resolve(imports: ImportStore, imported: Imported) -> Alias | None:
    """Return the alias of an imported key under the newest pepper that has one, or None.

    Raises Unavailable if the store fails.
    """
    digests = list(imported.all_digests())
    kids = await imports.resolve_all([[digest] for digest in digests])
    found = zip(kids, digests, strict=True)
    return next((Alias(kid, digest) for kid, digest in found if isinstance(kid, str)), None)


def is_proven(record: KeyRecord, imported: Imported) -> bool:
    """Return whether the imported key is a secret of the record, live or not.

    An alias alone proves nothing: whoever may write the store can point it at any record.
    """
    return any(
        matches(digest, entry.digest)
        for digest in imported.all_digests()
        for entry in record.secrets
    )


def _passed(last: str) -> dict[str, Reason | None]:
    """Return the checks up to and including `last`, each with None: not refused."""
    return dict.fromkeys(CHECKS[: CHECKS.index(last) + 1])


def _refused(check: str, reason: Reason, fault: str = "") -> Verdict:
    return Verdict(Deny(reason), _passed(check) | {check: reason}, fault=fault)
