"""Calls of the admin API, with the faults of flows."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import grpc

from authz.client import AdminError, AsyncAdminClient, admin_pb2
from authz.core.errors import OutcomeUnknown, Unavailable
from authz.remote.failures import fault_of

MAX_PAGES: Final = 100_000  # of one list: 100 million keys
MAX_EMPTY: Final = 1000  # pages without a key, one after the other; a server looks at 100,000 keys
MAX_PAUSES: Final = 20  # of one call, because of the bound on calls in a second
PAUSE_SECONDS: Final = 1.0  # the longest pause
QUIET_SECONDS: Final = 120.0  # between two messages of a stream; a server waits 60 s for sidecars
CHANGE_SECONDS: Final = 120.0  # for a change; a server waits 100 s for the move of a store
NEWS_SECONDS: Final = 5.0  # between two lines about a change that takes long
_END: Final = object()

log = logging.getLogger("authz.remote")


class Calls:
    """A client whose methods raise faults. address: for messages."""

    def __init__(self, client: AsyncAdminClient, address: str) -> None:
        self.client = client
        self._address = address

    async def begin(self) -> None:
        """Ask the server who we are, so that a change is sent only where it can arrive.

        Raises Unavailable if the server does not answer or refuses the credential.
        """
        await self.read(self.client.admin.WhoAmI, admin_pb2.WhoAmIRequest())

    async def read(self, method: Callable[..., Any], request: Any) -> Any:
        """Return the response of a method that changes nothing. Raises Fault."""
        try:
            return await _unhurried(partial(method, request))
        except AdminError as error:
            raise fault_of(error, self._address) from None

    async def change(
        self, method: Callable[..., Any], request: Any, wait_seconds: float = 0
    ) -> Any:
        """Return the response of a method that makes a change. Raises Fault.

        wait_seconds: how long the server may wait for the sidecars. The log tells of a change that
        takes long. Raises OutcomeUnknown if the server does not answer.
        """
        send = partial(method, request, timeout=CHANGE_SECONDS + wait_seconds)
        try:
            with _told(wait_seconds, self._address):
                return await _unhurried(send)
        except AdminError as error:
            raise fault_of(error, self._address, may_be_made=True) from None

    async def stream(
        self, method: Callable[..., Any], request: Any, *, makes_changes: bool = False
    ) -> AsyncIterator[Any]:
        """Yield the responses of a stream. Raises Fault.

        Raises Unavailable if no response comes for QUIET_SECONDS (120 s); OutcomeUnknown if the
        method makes changes.
        """
        responses = method(request)
        try:
            while True:
                async with asyncio.timeout(QUIET_SECONDS):
                    response = await anext(responses, _END)
                if response is _END:
                    return
                yield response
        except AdminError as error:
            raise fault_of(error, self._address, may_be_made=makes_changes) from None
        except TimeoutError:
            fault = OutcomeUnknown if makes_changes else Unavailable
            problem = f"the admin API {self._address} sent nothing for {QUIET_SECONDS:g} s"
            raise fault(problem) from None

    async def page(self, method: Callable[..., Any], request: Any) -> Any:
        """Return one page of a list. Raises Fault.

        If the response is larger than gRPC accepts (4 MiB), it halves `request.page_size`.
        """
        while True:
            try:
                return await method(request)
            except AdminError as error:
                is_too_large = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason
                if not is_too_large or request.page_size <= 1:
                    raise fault_of(error, self._address) from None
            request.page_size //= 2

    async def pages(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        """Yield every page of a list. It writes into `request`. Raises Fault.

        Raises Unavailable if a page says that it follows itself, after MAX_PAGES (100,000) pages,
        and after MAX_EMPTY (1000) pages without an entry.
        """
        empty = 0
        for _ in range(MAX_PAGES):
            response = await self.page(method, request)
            yield response
            if not response.next_page_token:
                return
            empty = 0 if _has_entries(response) else empty + 1
            if response.next_page_token == request.page_token or empty == MAX_EMPTY:
                break
            request.page_token = response.next_page_token
        raise Unavailable(f"the admin API {self._address} sent a list without an end")


def _has_entries(response: Any) -> bool:
    return any(field.is_repeated for field, _ in response.ListFields())


@contextmanager
def _told(expected: float, address: str) -> Iterator[None]:
    """Tell in the log, every NEWS_SECONDS (5 s), that the block takes longer than `expected`."""

    async def tell() -> None:
        await asyncio.sleep(expected)
        while True:
            await asyncio.sleep(NEWS_SECONDS)
            log.warning("waiting for the admin API at %s; its store may be moved now", address)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()


async def _unhurried(send: Callable[[], Awaitable[Any]]) -> Any:
    """Return the response of a call. While the server says that calls come too fast, wait."""
    for _ in range(MAX_PAUSES):
        try:
            return await send()
        except AdminError as error:
            if error.reason != "RATE_LIMITED":
                raise
            await asyncio.sleep(min(error.retry_seconds or PAUSE_SECONDS, PAUSE_SECONDS))
    return await send()
