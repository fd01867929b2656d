"""The Usage service."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from authz.core.access import Caller, Visible, visible
from authz.core.errors import BadInput, NotFound
from authz.core.roles import Action
from authz.core.usage.counts import Level
from authz.core.usage.question import DEFAULT_MS, By, LatestUse, Report, Span, TopBy, month_named
from authz.flows.admin_flows import AdminFlows
from authz.flows.usage.reading import VisibleKids
from authz.rpc.admin.anomaly_messages import unusual_message
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing
from authz.rpc.admin.guards import guard, require_visible
from authz.rpc.admin.page_tokens import PageTokens
from authz.rpc.admin.paging import MAX_SIZE, page_size, selection_for
from authz.rpc.admin.usage_messages import (
    checked_span,
    counts_message,
    latest_use_message,
    question,
    report_message,
)
from authz.rpc.admin.values import (
    LATEST_USE,
    USAGE,
    kid_of,
    kid_of_part,
    name_of,
    note_of,
    time_ms,
    timestamp,
    word_of,
)
from authz.rpc.pb.admin.v1 import usage_pb2

TOP: Final = 20
UNUSUAL: Final = 50
MAX_TOP: Final = 500
CHUNK: Final = 500  # keys of which some fields are read in one call
OWNER: Final = ("client_id", "tenant_id", "project_id")  # fields of a record

_ORDERS: Final = {number: name for name, number in usage_pb2.UsageOrder.items()}


class UsageService:
    """The methods of authz.admin.v1.Usage.

    The usage of a key of another tenant or project is answered like that of a key that does not
    exist. A deleted key has no tenant, so only callers that may see every key see its usage.
    """

    def __init__(self, flows: AdminFlows, tokens: PageTokens) -> None:
        self._flows = flows
        self._tokens = tokens
        self._changing = Changing(flows)

    async def list_usage(
        self, request: usage_pb2.ListUsageRequest, context: CallContext
    ) -> usage_pb2.ListUsageResponse:
        """Return a page of the usage of a key, of the keys that match a filter, or of all requests.

        For a caller that may not see every key, all requests are those of the keys that it may see.
        The rows come in pages; the total is of all rows. Raises BadInput for a wrong field or
        token, NotFound for a key that does not exist and has no usage, or that it may not see.
        """
        size = page_size(request.page_size or MAX_SIZE)
        if request.key and request.filter:
            raise BadInput("filter", "give either key or filter")
        seen = visible(context.caller, Action.READ_USAGE)
        of_keys = bool(request.key or request.filter) or not seen.is_everything
        wanted, by = question(request, self._flows.clock.wall_ms(), of_keys=of_keys)
        about = ("ListUsage", context.caller.actor, _content(request))
        position = self._tokens.open(request.page_token, *about)
        report = await self._report(request, context.caller, seen, wanted, by)
        groups = [group for group in report.groups if not position or _is_after(group, position)]
        response = usage_pb2.ListUsageResponse(
            report=report_message(report, groups[:size], with_completeness=seen.is_everything)
        )
        if len(groups) > size:
            response.next_page_token = self._tokens.seal(f"={groups[size - 1]}", *about)
        return response

    async def list_top_keys(
        self, request: usage_pb2.ListTopKeysRequest, context: CallContext
    ) -> usage_pb2.ListTopKeysResponse:
        """Return the keys that were used most, of those that the caller may see, the most first.

        At most `limit`; 0: TOP (20). The span is a month, or ends now; without both `month` and
        `since_time` it has 30 days. A deleted key has no client id. Raises BadInput for a wrong
        limit, month or time.
        """
        if not 0 <= request.limit <= MAX_TOP:
            raise BadInput("limit", f"1 to {MAX_TOP}")
        wanted = self._span_of_top(request)
        order = word_of(TopBy, request.order, "USAGE_ORDER", _ORDERS) or TopBy.REQUESTS
        kids = self._visible_kids(visible(context.caller, Action.READ_USAGE))
        found = await self._flows.usage.top(wanted, order, request.limit or TOP, kids)
        entries = await self._flows.selection.read([kid for kid, _ in found.keys])
        return usage_pb2.ListTopKeysResponse(
            keys=[
                usage_pb2.ListTopKeysResponse.TopKey(
                    name=name_of(kid),
                    client_id=entry.record.client_id if entry.record else "",
                    counts=counts_message(counts),
                    display_name=entry.record.name if entry.record else "",
                )
                for (kid, counts), entry in zip(found.keys, entries, strict=True)
            ],
            start_time=timestamp(wanted.since),
            key_count=found.looked_at,
        )

    def _span_of_top(self, request: usage_pb2.ListTopKeysRequest) -> Span:
        if request.month:
            if request.HasField("since_time"):
                raise BadInput("month", "is a span; give it without since_time")
            month = month_named("month", request.month)
            return Span(Level.MONTH, range(month, month + 1))
        now = self._flows.clock.wall_ms()
        since = now - DEFAULT_MS
        if request.HasField("since_time"):
            since = time_ms("since_time", request.since_time)
        return checked_span(since, now, By.DAY, of_keys=True)

    async def list_anomalies(
        self, request: usage_pb2.ListAnomaliesRequest, context: CallContext
    ) -> usage_pb2.ListAnomaliesResponse:
        """Return the keys whose hours are unusual, of those that the caller may see.

        At most `limit`; 0: UNUSUAL (50). Raises BadInput for a wrong limit, time or name.
        """
        if not 0 <= request.limit <= MAX_TOP:
            raise BadInput("limit", f"1 to {MAX_TOP}")
        since = None
        if request.HasField("since_time"):
            since = time_ms("since_time", request.since_time)
        kids = self._visible_kids(visible(context.caller, Action.READ_USAGE))
        only = kid_of("name", request.name) if request.name else ""
        try:
            found = await self._flows.anomalies.unusual(since, request.limit or UNUSUAL, kids, only)
        except BadInput as cause:
            raise BadInput("since_time", cause.problem) from None
        return unusual_message(found)

    async def get_latest_use(
        self, request: usage_pb2.GetLatestUseRequest, context: CallContext
    ) -> usage_pb2.GetLatestUseResponse:
        """Return the latest use of a key and of its secrets.

        Raises NotFound for a key that does not exist and has no usage, or that the caller may not
        see.
        """
        kid = kid_of_part(request.name, LATEST_USE)
        is_there = await self._is_there(context.caller, kid, Action.READ_USAGE)
        use = await self._flows.usage.latest_use(kid)
        if not is_there and not _is_used(use):
            raise NotFound(f"no key has the kid {kid}")
        return usage_pb2.GetLatestUseResponse(latest_use=latest_use_message(kid, use))

    async def erase_usage(
        self, request: usage_pb2.EraseUsageRequest, context: CallContext
    ) -> usage_pb2.EraseUsageResponse:
        """Erase the networks and user agents from which a key was used. Return their number.

        With `validate_only`, erase nothing and return 0. Raises NotFound or Forbidden.
        """
        kid = kid_of_part(request.name, USAGE)
        await self._is_there(context.caller, kid, Action.ERASE_USAGE)
        author = self._changing.author(context, note_of(request.note))
        if request.validate_only:
            return usage_pb2.EraseUsageResponse()
        return usage_pb2.EraseUsageResponse(erased=await self._flows.erasure.erase(kid, author))

    async def _report(
        self,
        request: usage_pb2.ListUsageRequest,
        caller: Caller,
        seen: Visible,
        wanted: Span,
        by: By,
    ) -> Report:
        usage = self._flows.usage
        if request.key:
            kid = kid_of("key", request.key)
            is_there = await self._is_there(caller, kid, Action.READ_USAGE)
            report = await usage.of_key(kid, wanted, by)
            if not (is_there or report.groups):
                raise NotFound(f"no key has the kid {kid}")
            return report
        if not request.filter and seen.is_everything:
            return await usage.all_requests(wanted, by)
        selector, keep = selection_for(caller, Action.READ_USAGE, request.filter)

        async def kids() -> AsyncIterator[str]:
            if selector is not None:
                async for entry in self._flows.selection.each(selector, keep=keep):
                    if entry.record is not None:
                        yield entry.kid

        return await usage.of_keys(kids(), wanted, by)

    async def _is_there(self, caller: Caller, kid: str, action: Action) -> bool:
        """Return whether the key exists; False only for callers that may see every key.

        Raises NotFound if the caller may not see the key, and Forbidden if it may not take the
        action on it.
        """
        try:
            record = await self._flows.lifecycle.show(kid)
        except NotFound:
            if visible(caller, action).is_everything:
                return False
            raise
        if action is Action.READ_USAGE:
            require_visible(caller, record, action)
        else:
            guard(caller, action)(record, None)
        return True

    def _visible_kids(self, seen: Visible) -> VisibleKids | None:
        if seen.is_everything:
            return None

        async def visible_of(kids: Sequence[str]) -> Sequence[str]:
            found: list[str] = []
            for start in range(0, len(kids), CHUNK):
                part = kids[start : start + CHUNK]
                rows = await self._flows.index.texts(part, OWNER)
                found += [
                    kid
                    for kid, (client, tenant, project) in zip(part, rows, strict=True)
                    if client is not None and seen.covers(tenant or "", project or "")
                ]
            return found

        return visible_of


def _content(request: usage_pb2.ListUsageRequest) -> str:
    """Return the request without page size and page token, serialised, in hexadecimal."""
    bare = usage_pb2.ListUsageRequest()
    bare.CopyFrom(request)
    bare.ClearField("page_size")
    bare.ClearField("page_token")
    return bare.SerializeToString(deterministic=True).hex()


def _is_after(group: int | str, position: str) -> bool:
    last = position.removeprefix("=")
    return group > int(last) if isinstance(group, int) else group > last


def _is_used(use: LatestUse) -> bool:
    return bool(use.latest or use.secrets or use.last_30_days.requests)
