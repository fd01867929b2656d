"""SigningKeys: the keys of one identity provider, kept and refreshed.

1. At most one fetch runs at a time, and fetches begin at least FETCH_PAUSE apart, whatever tokens
   arrive. A token with an unknown kid can ask for one fetch in that time, not more.
2. Keys older than REFRESH are refreshed in the background and stay in use meanwhile.
3. While the provider is down, the last good keys stay in use for `grace` after they were fetched.
   After that `find` raises Unavailable.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.identity import key_set
from authz.identity.key_set import SigningKey
from authz.identity.metadata import fetch_bytes, fetch_metadata
from authz.process.web_client import WebClient

FETCH_PAUSE: Final = 10.0  # seconds between the beginnings of two fetches
REFRESH: Final = 600.0  # seconds

log = logging.getLogger("authz.identity")

Fetch = Callable[[], Awaitable[bytes]]


class SigningKeys:
    """The keys of one provider. fetch: returns the key set. grace: seconds."""

    def __init__(self, fetch: Fetch, clock: Clock, grace: float) -> None:
        self._fetch = fetch
        self._clock = clock
        self._grace = grace
        self._keys: tuple[SigningKey, ...] = ()
        self._fetched = float("-inf")  # when the fetch of the keys began
        self._tried = float("-inf")  # when the last fetch began
        self._problem = ""  # of the last fetch
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, algorithm: str, key_id: str) -> tuple[SigningKey, ...]:
        """Return the keys that may have signed a token with this header; empty if there is none.

        Waits for a fetch, if one runs or may begin, if no key fits or the keys are as old as the
        grace. Keys as old as REFRESH (600 s) begin a fetch in the background. Raises Unavailable if
        the keys stay that old, or if no key fits and the last fetch failed.
        """
        age = self._age()
        if age >= self._grace:
            await self._refresh()
        elif age >= REFRESH:
            self._start()
        if self._age() >= self._grace:
            raise Unavailable(f"no signing keys: {self._problem or 'not fetched yet'}")
        found = key_set.matching(self._keys, algorithm, key_id)
        if not found:
            await self._refresh()
            found = key_set.matching(self._keys, algorithm, key_id)
        if not found and self._problem:
            raise Unavailable(f"signing keys may have changed: {self._problem}")
        return found

    async def close(self) -> None:
        """Cancel the running fetch, if any, and wait for its end."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _age(self) -> float:
        return self._clock.monotonic() - self._fetched

    async def _refresh(self) -> None:
        task = self._start()
        if task is not None:
            await asyncio.shield(task)  # a caller that gives up does not end it for the others

    def _start(self) -> asyncio.Task[None] | None:
        """Return the running fetch, or begin one.

        None if none runs and the last one began less than FETCH_PAUSE (10 s) ago.
        """
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now = self._clock.monotonic()
        if now - self._tried < FETCH_PAUSE:
            return None
        self._tried = now
        self._fetching = asyncio.create_task(self._load(now), name="signing-keys")
        return self._fetching

    async def _load(self, began: float) -> None:
        try:
            self._keys = key_set.parse(await self._fetch())
        except Unavailable as cause:
            if str(cause) != self._problem:
                log.warning("identity provider: %s; the last keys stay in use", cause)
            self._problem = str(cause)
        else:
            if self._problem:
                log.info("identity provider: keys are fetched again")
            self._fetched, self._problem = began, ""


def discovered(client: WebClient, issuer: str) -> Fetch:
    """Return a fetch that finds the key set by the issuer's metadata, and returns its bytes.

    The fetch makes two requests. It raises Unavailable if one fails or the metadata cannot be used.
    """

    async def fetch() -> bytes:
        found = await fetch_metadata(client, issuer)
        return await fetch_bytes(client, found.address("jwks_uri"))

    return fetch


def located(client: WebClient, url: str) -> Fetch:
    """Return a fetch of the key set at a URL. It raises Unavailable without a response of 200."""
    return lambda: fetch_bytes(client, url)
