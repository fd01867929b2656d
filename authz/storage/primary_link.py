"""PrimaryLink: keeps a link to the primary open, on which something is counted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.storage import reconnect
from authz.storage.crowd import Crowd
from authz.storage.endpoint import Endpoint
from authz.storage.link import Link
from authz.storage.refusals import OTHER_REPLIES

log = logging.getLogger("authz.store")

CONNECT_SECONDS: Final = 1.0
PRIMARY: Final = "master"  # the store's own word
CONNECTING: Final = "connecting"


class PrimaryLink:
    """Opens a link to the primary again whenever it ends, and logs a fault when it changes.

    name: of the connection. subject: what is counted, and its verb, such as "limits are". prepare:
    commands on a new link, before it is used; raises Unavailable. logs_first: log also that the
    first attempt succeeded. crowd: the sidecars that may reconnect at the same moment.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        *,
        name: str,
        subject: str,
        prepare: Callable[[Link], Awaitable[None]],
        logs_first: bool = False,
        crowd: Crowd | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._name = name
        self._subject = subject
        self._prepare = prepare
        self._crowd = crowd
        self._fault = CONNECTING if logs_first else ""
        self._refusal = ""
        self.link: Link | None = None
        """The link while it is connected, logged in and prepared; else None."""

    @property
    def reason(self) -> str:
        """The known reason why the store does not count; "" while it does.

        "connecting" before the first attempt has ended.
        """
        return self._fault or ("" if self.link is not None else CONNECTING)

    async def run(self) -> None:
        """Keep a link open until cancelled. Faults are logged when they change, not raised."""
        await reconnect.repeat(
            self._attempt, self._clock, enough=CONNECT_SECONDS, crowd=self._crowd
        )

    def refuse(self, link: Link, problem: str) -> None:
        """Drop the link of a store that refuses to count. The refusal stands until `accept`.

        A new connection does not show that the store counts again.
        """
        self._refusal = problem
        link.abort(problem)

    def accept(self) -> None:
        """Note that the store counts: a refusal is over."""
        if self._refusal:
            self._refusal = ""
            self._report("")

    async def _attempt(self) -> None:
        ended = asyncio.Event()
        link = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                link = await self._connect(ended)
            self.link = link
            self._report(self._refusal)
            await ended.wait()
            self._report(link.fault)
        except (Unavailable, OSError) as cause:
            self._report(reconnect.describe(cause, CONNECT_SECONDS))
        except (TypeError, ValueError, LookupError, AttributeError):  # of `prepare`
            self._report(f"its reply is none of Redis or Valkey{OTHER_REPLIES}")
        finally:
            self.link = None
            if link is not None:
                link.abort()

    async def _connect(self, ended: asyncio.Event) -> Link:
        link = await self._endpoint.open(
            lambda: self._endpoint.link(lambda _push: None, partial(self._on_lost, ended))
        )
        try:
            hello = await self._endpoint.greet(link, self._name)
            self._expect_primary(hello.get("role"))
            await self._prepare(link)
        except BaseException:
            link.abort()
            raise
        return link

    def _expect_primary(self, role: object) -> None:
        if role != PRIMARY:
            raise Unavailable(f"it is a {role}; {self._subject} counted on the primary")

    def _on_lost(self, ended: asyncio.Event) -> None:
        self.link = None
        ended.set()

    def _report(self, fault: str) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        where = self._endpoint
        if fault:
            log.warning("%s not counted in the store: %s: %s", self._subject, where, fault)
        else:
            log.info("%s counted in the store: %s", self._subject, where)
