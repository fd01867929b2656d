"""Usage over the admin API."""

from collections.abc import Sequence
from typing import Any

from authz.core.errors import NotFound, Unreadable
from authz.core.selector import Selector
from authz.core.usage.anomalies.ports import UnusualKeys
from authz.core.usage.completeness import Completeness
from authz.core.usage.counts import Counts, Field, Level
from authz.core.usage.question import NAMED, By, Report, Span, TopBy, month_name
from authz.flows.by import By as Authorship
from authz.flows.usage.command_ports import TopKey
from authz.remote.anomalies import unusual_keys
from authz.remote.calls import Calls
from authz.remote.records import kid_of, ms_of
from authz.remote.requests import filter_of
from authz.rpc.admin.values import USAGE, name_of, timestamp
from authz.rpc.pb.admin.v1 import usage_pb2

PAGE = 1000


class RemoteUsage:
    """UsageReports and CallerEraser over the admin API."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def of_key(self, kid: str, span: Span, by: By) -> Report:
        """Return the usage of one key, also of a deleted one. Raises NotFound."""
        try:
            return await self._report(span, by, key=name_of(kid))
        except NotFound as cause:
            raise NotFound(f"{cause}, and none had it at that time") from None

    async def of_selected(self, selector: Selector, span: Span, by: By) -> Report:
        """Return the sums over the keys that fit; of all requests if the selector is empty."""
        return await self._report(span, by, filter=filter_of(selector))

    async def top(self, span: Span, by: TopBy, limit: int) -> tuple[Sequence[TopKey], int]:
        """Return the keys that were used most, and how many were compared."""
        request = usage_pb2.ListTopKeysRequest(
            order=_word(usage_pb2.UsageOrder, f"USAGE_ORDER_{by.value.upper()}"),
            limit=limit,
        )
        if span.level is Level.MONTH:
            request.month = month_name(span.slots.start)
        else:
            request.since_time.CopyFrom(timestamp(span.since))
        response = await self._calls.read(self._calls.client.usage.ListTopKeys, request)
        rows = [
            TopKey(kid_of(one.name), one.client_id or None, counts_of(one.counts))
            for one in response.keys
        ]
        return rows, response.key_count

    async def unusual(self, since: int | None, limit: int) -> UnusualKeys:
        """Return the keys whose hours are unusual, with their clients."""
        request = usage_pb2.ListAnomaliesRequest(limit=limit)
        if since is not None:
            request.since_time.CopyFrom(timestamp(since))
        response = await self._calls.read(self._calls.client.usage.ListAnomalies, request)
        return unusual_keys(response)

    async def erase(self, kid: str, by: Authorship) -> int:
        """Erase the facts about the callers of a key. Return how many there were."""
        request = usage_pb2.EraseUsageRequest(name=f"{name_of(kid)}{USAGE}", note=by.note)
        response = await self._calls.change(self._calls.client.usage.EraseUsage, request)
        return int(response.erased)

    async def _report(self, span: Span, by: By, **whose: str) -> Report:
        since, until = _asked(span)
        request = usage_pb2.ListUsageRequest(
            since_time=timestamp(since),
            until_time=timestamp(until),
            group_by=_word(usage_pb2.UsageGroup, f"USAGE_GROUP_{by.value.upper()}"),
            page_size=PAGE,
            **whose,
        )
        groups: dict[int | str, Counts] = {}
        report = usage_pb2.UsageReport()
        async for page in self._calls.pages(self._calls.client.usage.ListUsage, request):
            report = page.report
            groups |= {_group(row, by): counts_of(row.counts) for row in report.rows}
        is_of_many = bool(whose.get("filter"))
        return Report(
            span=span,
            by=by,
            groups=groups,
            total=counts_of(report.total),
            keys=report.key_count if report.HasField("key_count") else None,
            denials=None if is_of_many else dict(sorted(report.denied_by_reason.items())),
            completeness=_completeness(report),
        )


def _asked(span: Span) -> tuple[int, int]:
    """Return the times, in ms, for which the server finds the same slots.

    The server counts routes by hour for a short time, else by day. So a span of hours becomes the
    shortest time that touches its first and its last slot.
    """
    if span.level is not Level.HOUR or len(span.slots) == 1:
        return span.since, span.until
    return span.level.starts_at(span.slots[1]) - 1, span.level.starts_at(span.slots[-1]) + 1


def _word(kind: Any, name: str) -> Any:
    return kind.Value(name)


def _group(row: usage_pb2.UsageRow, by: By) -> int | str:
    group = row.WhichOneof("group")
    if group != (by.value if by in NAMED else "start_time"):
        raise Unreadable("the admin API sent other groups than were asked for")
    match group:
        case "start_time":
            return ms_of(row.start_time)
        case "status":
            return row.status
        case "model":
            return row.model
    return row.route


def _completeness(report: usage_pb2.UsageReport) -> Completeness | None:
    if not report.HasField("completeness"):
        return None
    found = report.completeness
    return Completeness(found.issued, found.seen, found.missing, found.repeated)


def counts_of(message: usage_pb2.UsageCounts) -> Counts:
    """Return the numbers of some requests."""
    numbers = {
        Field.OK: message.ok,
        Field.CLIENT_ERROR: message.client_error,
        Field.SERVER_ERROR: message.server_error,
        Field.DENIED: message.denied,
        Field.ABORTED: message.aborted,
        Field.BYTES_IN: message.bytes_in,
        Field.BYTES_OUT: message.bytes_out,
        Field.MILLISECONDS: message.duration_ms,
        Field.SLOW_100_MS: message.over_100_ms,
        Field.SLOW_1_S: message.over_1_s,
        Field.SLOW_10_S: message.over_10_s,
        Field.INPUT_TOKENS: message.input_tokens,
        Field.OUTPUT_TOKENS: message.output_tokens,
        Field.CACHED_TOKENS: message.cached_tokens,
        Field.CACHE_WRITE_TOKENS: message.cache_write_tokens,
        Field.REASONING_TOKENS: message.reasoning_tokens,
        Field.MICRO_USD: message.micro_usd,
        Field.ESTIMATED: message.estimated,
    }
    units = message.units - (message.requests - message.denied)
    return Counts(tuple(numbers.get(field, max(0, units)) for field in Field))
