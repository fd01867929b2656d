"""Usage as messages, and the questions of requests about it."""

from typing import Final

from authz.core.errors import BadInput
from authz.core.usage.commit import Denial, Sight
from authz.core.usage.completeness import Completeness
from authz.core.usage.counts import Counts
from authz.core.usage.question import By, LatestUse, Report, Span, default_ms, span
from authz.rpc.admin.values import LATEST_USE, name_of, time_ms, timestamp, word_of
from authz.rpc.pb.admin.v1 import me_pb2, usage_pb2

MAX_NUMBER: Final = 2**63 - 1  # of int64; a sum stays at it
SECOND_MS: Final = 1000
FIELDS: Final = {"since": "since_time", "by": "group_by"}  # of questions, as requests name them

_GROUPS: Final = {number: name for name, number in usage_pb2.UsageGroup.items()}


Asked = usage_pb2.ListUsageRequest | me_pb2.GetMyUsageRequest
"""A request for a report."""


def question(request: Asked, now: int, *, of_keys: bool) -> tuple[Span, By]:
    """Return the span and the groups that a request asks for. now: ms since the epoch.

    Without `until_time` the span ends now, without `since_time` it has the length of `default_ms`,
    without `group_by` groups are days. of_keys: as for `span`. Raises BadInput about one of these
    fields.
    """
    by = word_of(By, request.group_by, "USAGE_GROUP", _GROUPS) or By.DAY
    until = time_ms("until_time", request.until_time) if request.HasField("until_time") else now
    since = max(until - default_ms(by), 0)
    if request.HasField("since_time"):
        since = time_ms("since_time", request.since_time)
    return checked_span(since, until, by, of_keys=of_keys), by


def checked_span(since: int, until: int, by: By, *, of_keys: bool) -> Span:
    """Return a span of time, as `span` does. Raises BadInput with the field of the request."""
    try:
        return span(since, until, by, of_keys=of_keys)
    except BadInput as cause:
        raise BadInput(FIELDS.get(cause.field, cause.field), cause.problem) from None


def report_message(
    report: Report, groups: list[int | str], *, with_completeness: bool
) -> usage_pb2.UsageReport:
    """Return a report with a row for each of `groups`, which are keys of `report.groups`.

    The total and the denials are those of the whole report. An int is the start of a slot in ms.
    """
    message = usage_pb2.UsageReport(
        start_time=timestamp(report.span.since),
        end_time=timestamp(report.span.until),
        total=counts_message(report.total),
        key_count=report.keys,
        denied_by_reason=report.denials,
    )
    for group in groups:
        row = message.rows.add(counts=counts_message(report.groups[group]))
        if isinstance(group, int):
            row.start_time.CopyFrom(timestamp(group))
        elif report.by is By.ROUTE:
            row.route = group
        elif report.by is By.MODEL:
            row.model = group
        else:
            row.status = group
    if with_completeness and report.completeness is not None:
        message.completeness.CopyFrom(_completeness(report.completeness))
    return message


def counts_message(counts: Counts) -> usage_pb2.UsageCounts:
    """Return the numbers of some requests, each at most 2^63 - 1."""
    return usage_pb2.UsageCounts(
        **{name: min(number, MAX_NUMBER) for name, number in counts.by_name().items()}
    )


def latest_use_message(kid: str, use: LatestUse) -> usage_pb2.LatestUse:
    """Return the latest use of a key and of its secrets, which are sorted by secret id."""
    return usage_pb2.LatestUse(
        name=f"{name_of(kid)}{LATEST_USE}",
        latest=_use(use.latest) if use.latest else None,
        secrets=[
            usage_pb2.SecretUse(
                secret_id=name, latest=_use(sight), requests=min(number, MAX_NUMBER)
            )
            for name, (sight, number) in sorted(use.secrets.items())
        ],
        last_30_days=counts_message(use.last_30_days),
        denials=map(_denial, use.denials),
    )


def _use(sight: Sight) -> usage_pb2.KeyUse:
    return usage_pb2.KeyUse(
        use_time=timestamp(sight.at * SECOND_MS), network=sight.network, user_agent=sight.agent
    )


def _denial(denial: Denial) -> usage_pb2.KeyDenial:
    return usage_pb2.KeyDenial(
        denial_time=timestamp(denial.at * SECOND_MS),
        reason=denial.reason,
        route=denial.route,
        status=denial.code,
        network=denial.network,
        method=denial.method,
        requests=min(denial.requests, MAX_NUMBER),
    )


def _completeness(found: Completeness) -> usage_pb2.UsageCompleteness:
    return usage_pb2.UsageCompleteness(
        issued=found.issued, seen=found.seen, missing=found.missing, repeated=found.repeated
    )
