"""Methods of the Keys service that list: keys, all keys as a stream, and the history of a key."""

from collections.abc import AsyncIterator
from typing import Final

from authz.core.key_order import ORDERS, KeyOrder, parse_order
from authz.core.roles import Action
from authz.core.selector import Selector
from authz.flows.admin_flows import AdminFlows
from authz.flows.selection import Cost, Entry, Keep, Page, first
from authz.rpc.admin.api_error import ApiError, Code
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.guards import require_visible
from authz.rpc.admin.key_messages import entry_message, key_message
from authz.rpc.admin.page_tokens import PageTokens
from authz.rpc.admin.paging import page_size, selection_for
from authz.rpc.admin.usage_messages import SECOND_MS
from authz.rpc.admin.values import kid_of, name_of, timestamp
from authz.rpc.pb.admin.v1 import keys_pb2

MAX_SORTED: Final = 20_000  # keys looked at for one list in another order than of creation


class KeyLists:
    """Methods of authz.admin.v1.Keys that list."""

    def __init__(self, flows: AdminFlows, tokens: PageTokens) -> None:
        self._flows = flows
        self._tokens = tokens

    async def list_keys(
        self, request: keys_pb2.ListKeysRequest, context: CallContext
    ) -> keys_pb2.ListKeysResponse:
        """Return a page of the keys that match and that the caller may see.

        Keys whose record cannot be read are listed in `unreadable`. Raises BadInput for a wrong
        filter, order or token, ApiError if too many keys would have to be sorted.
        """
        size, order = page_size(request.page_size), parse_order("order_by", request.order_by)
        selector, keep = selection_for(context.caller, Action.READ_KEYS, request.filter)
        about: tuple[str, ...] = ("ListKeys", context.caller.actor, request.filter)
        if order != KeyOrder():
            about = (*about, request.order_by)
        cursor = self._tokens.open(request.page_token, *about)
        response = keys_pb2.ListKeysResponse()
        if selector is None:
            return response
        if order.is_by_creation:
            page = await self._flows.selection.page(
                selector, size, cursor, keep, is_newest_first=order.is_reversed
            )
        else:
            page = await self._sorted(selector, size, order, keep)
        used = await self._flows.usage.latest_times([entry.kid for entry in page.entries])
        for entry in page.entries:
            if entry.record is not None:
                key = key_message(entry.record)
                if entry.kid in used:
                    key.last_use_time.CopyFrom(timestamp(used[entry.kid] * SECOND_MS))
                response.keys.append(key)
            else:
                response.unreadable.append(_unreadable(entry))
        if page.next:
            response.next_page_token = self._tokens.seal(page.next, *about)
        return response

    async def _sorted(
        self, selector: Selector, size: int, order: KeyOrder, keep: Keep | None
    ) -> Page:
        """Return the first keys in another order. Raises ApiError over MAX_SORTED (20,000) keys."""
        flows, cost = self._flows, Cost()
        # This alone is cheap: no record is read to find that there are too many.
        places = await flows.index.kids(selector.client_id, None, MAX_SORTED + 1)
        if len(places) > MAX_SORTED:
            message = f"more than {MAX_SORTED} keys would have to be sorted; give a client"
            raise ApiError(Code.FAILED_PRECONDITION, "TOO_MANY_KEYS", message)
        each = flows.selection.each(selector, cost, keep)
        entries = await first(each, size, ORDERS[order.name], is_reversed=order.is_reversed)
        return Page(entries, None, cost)

    async def export_keys(
        self, request: keys_pb2.ExportKeysRequest, context: CallContext
    ) -> AsyncIterator[keys_pb2.ExportKeysResponse]:
        """Yield every key that matches and that the caller may see, oldest first.

        A key whose record cannot be read comes as `unreadable`. Raises BadInput for a wrong filter.
        """
        selector, keep = selection_for(context.caller, Action.EXPORT, request.filter)
        if selector is None:
            return
        async for entry in self._flows.selection.each(selector, keep=keep):
            if entry.record is not None:
                yield keys_pb2.ExportKeysResponse(key=key_message(entry.record))
            else:
                yield keys_pb2.ExportKeysResponse(unreadable=_unreadable(entry))

    async def list_key_history(
        self, request: keys_pb2.ListKeyHistoryRequest, context: CallContext
    ) -> keys_pb2.ListKeyHistoryResponse:
        """Return a page of the changes of a key, newest first.

        At an entry that is lost the list ends, and `lost_version` has its version. Raises NotFound,
        also for a key that the caller may not see, and BadInput for a wrong name or token.
        """
        kid, size = kid_of("parent", request.parent), page_size(request.page_size)
        about = ("ListKeyHistory", context.caller.actor, kid)
        position = self._tokens.open(request.page_token, *about)
        record = await self._flows.lifecycle.show(kid)
        require_visible(context.caller, record)
        response = keys_pb2.ListKeyHistoryResponse()
        version = int(position) if position else record.version
        while version and len(response.entries) < size:
            entry = await self._flows.trail.entry(kid, version)
            if entry is None:
                response.lost_version = version
                return response
            response.entries.append(entry_message(kid, entry))
            version = entry.base_version
        if version:
            response.next_page_token = self._tokens.seal(str(version), *about)
        return response


def _unreadable(entry: Entry) -> keys_pb2.UnreadableKey:
    return keys_pb2.UnreadableKey(name=name_of(entry.kid), reason=entry.why)
