"""SpendLink: counts limits in the store, on a separate link.

Rules:
1. A request is never sent twice, unless the store reported that it did not run it: it lost the
   function or script, or a calendar period is over.
2. Each request gets an answer within two deadlines. If the store is later, the link is dropped,
   because later replies on it would be late too.
3. The parser's callback delivers each reply.
4. If the store refuses to count (it became a replica, lacks one, or is full), the link is dropped.
   Behind Sentinel the next connection may lead to another store. The refusal stands until a reply
   shows that the store counts again; a successful connection does not show that.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.core.limits.charge import Charge, SpendReply, SpendRequest
from authz.core.limits.charge_once import RetryName
from authz.core.ports import Clock
from authz.storage.crowd import Crowd
from authz.storage.endpoint import Endpoint
from authz.storage.limits.spend_script import (
    SPEND,
    arguments,
    holder_name,
    spend_reply,
)
from authz.storage.link import Link, LinkLost
from authz.storage.linked_script import LinkedScript, StoreFunction
from authz.storage.primary_link import PrimaryLink

log = logging.getLogger("authz.store")

CONNECTION_NAME: Final = "authz-sidecar-limits"
CHECKS: Final = 2  # for late replies, in each deadline
MAX_GARBLED: Final = 1000

Deliver = Callable[[SpendReply | Unavailable], None]
Words = tuple[str | bytes, ...]
Asked = tuple[Charge, RetryName | None]  # as the request said, to decode its reply


class SpendLink:
    """A SpendStore. Each request is one call of a script; `run` keeps the link open.

    instance: this sidecar, named as the holder of granted leases. deadline: seconds; a reply later
    than about two of them ends the link. script: text of the script, with the interface of
    lua/spend.lua. crowd: the sidecars that may reconnect at the same moment.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        *,
        instance: str,
        deadline: float,
        script: str = SPEND,
        crowd: Crowd | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._holder = holder_name(instance)
        self._deadline = deadline
        self._script = LinkedScript(StoreFunction("spend", script))
        self._primary = PrimaryLink(
            endpoint,
            clock,
            name=CONNECTION_NAME,
            subject="limits are",
            prepare=self._prepare,
            crowd=crowd,
        )
        self._sent = self._answered = 0
        self._watch: asyncio.TimerHandle | None = None
        self._garbled: dict[str, None] = {}
        self.paused = ""
        """Why nothing may be counted now, although there is a link; "" if it may."""
        self.moving = ""
        """Why counters may become unreadable, which pauses this link; "" if they may not."""

    @property
    def is_open(self) -> bool:
        """True while a link is connected and logged in, so that requests can be sent."""
        return self._primary.link is not None and not self.paused

    @property
    def reason(self) -> str:
        """The known reason why the store does not count limits; "" while it does.

        "connecting" before the first attempt has ended.
        """
        return self.paused or self._primary.reason

    def spend(self, charge: Charge, ask: SpendRequest, deliver: Deliver) -> None:
        """Send a charge and return at once.

        `deliver` is called once, later, with the reply or a fault. Faults: Unavailable if nothing
        was counted (no link, overloaded, refused), OutcomeUnknown if the link ended first,
        Unreadable for garbled counters. A refusal also ends the link.
        """
        link = self._primary.link
        if link is None or self.paused:
            fault = Unavailable(self.paused or "not connected")
            asyncio.get_running_loop().call_soon(deliver, fault)
            return
        words = arguments(charge, ask, self._holder, self._endpoint.names)
        self._send(link, partial(self._on_reply, link, (charge, ask.once), words, deliver), words)

    async def drain(self) -> None:
        """Wait until all requests so far are answered, at most two deadlines. Raises nothing.

        Returns at once without a link, and early if the link ends.
        """
        link = self._primary.link
        if link is not None:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(2 * self._deadline):
                    await link.call("PING")  # replies keep their order

    async def run(self) -> None:
        """Keep a link open until cancelled. Faults are logged when they change, not raised."""
        await self._primary.run()

    async def _prepare(self, link: Link) -> None:
        self._sent = self._answered = 0
        await self._script.prepare(link)

    def _send(self, link: Link, on_reply: Callable[[Any], None], words: Words) -> None:
        self._sent += 1
        if self._watch is None:
            self._check_later(link, 0, 0)
        link.send(on_reply, *self._script.call, *words)

    def _on_reply(
        self, link: Link, asked: Asked, words: Words, deliver: Deliver, reply: Any
    ) -> None:
        if self._script.load_again(link, reply):
            self._sent -= 1
            self._send(link, partial(self._on_answer, link, asked, deliver), words)
        else:
            self._on_answer(link, asked, deliver, reply)

    def _on_answer(self, link: Link, asked: Asked, deliver: Deliver, reply: Any) -> None:
        self._answered += 1
        if isinstance(reply, list):
            self._primary.accept()
            charge, once = asked
            deliver(spend_reply(charge, reply, once))
        elif isinstance(reply, LinkLost):
            deliver(OutcomeUnknown(str(reply)))
        elif isinstance(reply, Unavailable):  # the command was not sent
            deliver(reply)
        else:
            self._on_refusal(link, deliver, self._script.explained(reply))

    def _on_refusal(self, link: Link, deliver: Deliver, problem: str) -> None:
        if self.moving and "WRONGTYPE" in problem:
            self.paused = self.moving
            deliver(Unavailable(self.moving))
            return
        if problem.startswith(("GARBLED ", "WRONGTYPE ")):
            self._report_garbled(problem)
            deliver(Unreadable(problem))
            return
        deliver(Unavailable(f"the store refused: {problem}"))
        self._primary.refuse(link, f"it does not count limits: {problem}")

    # Late replies.

    def _check_later(self, link: Link, older: int, newer: int) -> None:
        """Check for late replies after half a deadline.

        older, newer: how many requests had been sent at the check before the last one, and at the
        last one.
        """
        loop, pause = asyncio.get_running_loop(), self._deadline / CHECKS
        due = loop.time() + pause
        self._watch = loop.call_at(due, self._check, link, older, newer, due + pause)

    def _check(self, link: Link, older: int, newer: int, late: float) -> None:
        self._watch = None
        current = self._primary.link
        if current is None or self._answered >= self._sent:
            return
        if link is not current:
            self._check_later(current, 0, 0)
        elif asyncio.get_running_loop().time() > late:
            # This process was paused. Replies may have arrived that it has not read yet.
            self._check_later(link, older, newer)
        elif self._answered < older:
            link.abort(f"it has not answered for {self._deadline:g} s")
        else:
            self._check_later(link, newer, self._sent)

    def _report_garbled(self, problem: str) -> None:
        if problem not in self._garbled:
            if len(self._garbled) >= MAX_GARBLED:
                self._garbled.clear()
            self._garbled[problem] = None
            log.error("limit counters that cannot be read; use reset-limits: %s", problem)
