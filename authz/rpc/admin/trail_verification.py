"""VerifyAuditTrail: the marks and checkpoints of the audit trail are checked."""

from collections.abc import Mapping
from functools import partial

from authz.core.errors import BadInput
from authz.core.trail.report import Report
from authz.core.trail.verification import Verification
from authz.flows.admin_flows import AdminFlows
from authz.flows.partitioned.held_kids import HeldKids
from authz.flows.partitioned.trail import merged_report
from authz.flows.trail.verifying import verify
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.values import duration_ms, timestamp
from authz.rpc.pb.admin.v1 import audit_pb2


class TrailVerification:
    """The method VerifyAuditTrail of authz.admin.v1.Audit."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows

    async def verify_audit_trail(
        self, request: audit_pb2.VerifyAuditTrailRequest, _context: CallContext
    ) -> audit_pb2.VerifyAuditTrailResponse:
        """Verify the whole trail, as `authz audit verify` does. Findings are in the response.

        With `max_unsealed`, rows that are older and under no checkpoint are a finding. Raises
        BadInput for a wrong field, Unavailable if the store fails.
        """
        flows, keys = self._flows, self._flows.keyring.trail_keys
        for name in ("trimmed_before", "unmarked_until"):
            if getattr(request, name) < 0:
                raise BadInput(name, "a version, or 0")

        count = len(flows.trails)
        if count > 1 and (request.trimmed_before or request.unmarked_until):
            name = "trimmed_before" if request.trimmed_before else "unmarked_until"
            raise BadInput(name, "is for one partition; each has numbers of its own")

        def make(held: HeldKids | None, removed: Mapping[str, bytes]) -> Verification:
            return Verification(
                keys,
                removed=removed,
                trimmed_before=request.trimmed_before,
                unmarked_until=request.unmarked_until,
                holds=held.holds if held else None,
            )

        since = 0
        if request.HasField("max_unsealed"):
            longest = duration_ms("max_unsealed", request.max_unsealed)
            since = flows.clock.wall_ms() - longest
        reports = []
        for at, (rows, registry) in enumerate(flows.trails):
            held = HeldKids(flows.places, at) if count > 1 else None
            _, heard = await registry.find()
            known = max((each.sidecar.seen for each in heard), default=0)
            report = await verify(
                rows, rows, keys, partial(make, held), known=known, sealed_since=since
            )
            reports.append(await held.checked(report) if held else report)
        return _response(reports[0] if count == 1 else merged_report(reports))


def _response(report: Report) -> audit_pb2.VerifyAuditTrailResponse:
    response = audit_pb2.VerifyAuditTrailResponse(
        intact=report.is_intact,
        rows=report.rows,
        checkpoints=report.checkpoints,
        unsealed_rows=report.unsealed,
        unmarked_rows=report.unmarked,
        more_findings=report.more,
        last_row=report.last,
        seal_row=report.sealed_until,
        unmarked_until=report.unmarked_until,
    )
    for found in report.findings:
        response.findings.add(problem=found.problem.value, row=found.where, text=found.text)
    if report.unsealed_since:
        response.unsealed_since_time.CopyFrom(timestamp(report.unsealed_since))
    if report.sealed_until:
        response.seal_time.CopyFrom(timestamp(report.sealed_at))
    return response
