"""Take from limits, on a link of its own to the store.

Rules:
1. What was sent is never sent again, unless the store said that it did not do it: NOSCRIPT, and
   periods that are over.
2. Each request is answered within two deadlines: a link on which one was not is dropped, for what
   is behind it will not be sooner. The next one is good when the store has answered on it.
3. An answer is handed over as it is parsed.
4. A store that refuses to count (it became a replica, it has none, it is full) is left, and asked
   for anew: behind Sentinel that may lead to another. That it lets us in again is no sign that it
   counts again.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import hiredis

from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.core.limits.charge import Charge, SpendReply, SpendRequest
from authz.core.ports import Clock
from authz.storage import reconnect
from authz.storage.endpoint import Endpoint
from authz.storage.limits.spend_script import SPEND, arguments, holder_name, receipt
from authz.storage.link import Link, LinkLost, refusal

log = logging.getLogger("authz.store")

CONNECTION_NAME: Final = "authz-sidecar-limits"
CONNECT_SECONDS: Final = 1.0
LOOKS: Final = 2  # in a deadline, for answers that are late
MAX_GARBLED: Final = 1000

Deliver = Callable[[SpendReply | Unavailable], None]
Words = tuple[str | bytes, ...]


class SpendLink:
    """A SpendStore: one EVALSHA each. `run` keeps the link.

    instance: who holds the leases that it is granted. deadline: seconds. script: what is run, in
    the form of spend.lua.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        *,
        instance: str,
        deadline: float,
        script: str = SPEND,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._holder = holder_name(instance)
        self._deadline = deadline
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._link: Link | None = None
        self._fault = ""
        self._refusal = ""  # the store answered, and would not count: until there is a receipt
        self._sent = self._answered = 0
        self._watch: asyncio.TimerHandle | None = None
        self._garbled: dict[str, None] = {}

    @property
    def is_open(self) -> bool:
        """See SpendStore."""
        return self._link is not None

    @property
    def reason(self) -> str:
        """Why the store does not count; empty while it does, as far as that is known."""
        return self._fault or ("" if self._link is not None else "connecting")

    def spend(self, charge: Charge, ask: SpendRequest, deliver: Deliver) -> None:
        """See SpendStore."""
        link = self._link
        if link is None:
            fault = Unavailable("not connected")
            asyncio.get_running_loop().call_soon(deliver, fault)
            return
        words = arguments(charge, ask, self._holder)
        self._send(link, partial(self._on_reply, link, charge, words, deliver), words)

    async def settled(self) -> None:
        """Wait until what was asked so far is answered, for two deadlines at most."""
        link = self._link
        if link is not None:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(2 * self._deadline):
                    await link.call("PING")  # answers keep their order

    async def run(self) -> None:
        """Keep a link until cancelled."""
        await reconnect.keep(self._attempt, self._clock, enough=CONNECT_SECONDS)

    async def _attempt(self) -> None:
        ended = asyncio.Event()
        link = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                link = await self._connect(ended)
            self._link = link
            self._report(self._refusal)
            await ended.wait()
            self._report(link.fault)
        except (Unavailable, OSError) as cause:
            self._report(reconnect.explained(cause, CONNECT_SECONDS))
        finally:
            self._link = None
            if link is not None:
                link.abort()

    async def _connect(self, ended: asyncio.Event) -> Link:
        self._sent = self._answered = 0
        link = await self._endpoint.open(
            lambda: Link(lambda _push: None, partial(self._on_lost, ended))
        )
        try:
            hello = await self._endpoint.greet(link, CONNECTION_NAME)
            _expect_primary(hello.get("role"))
            await link.call("SCRIPT", "LOAD", self._script)
        except BaseException:
            link.abort()
            raise
        return link

    def _send(self, link: Link, on_reply: Callable[[Any], None], words: Words) -> None:
        self._sent += 1
        if self._watch is None:
            self._look_later(link, 0, 0)
        link.send(on_reply, "EVALSHA", self._sha, *words)

    def _on_reply(
        self, link: Link, charge: Charge, words: Words, deliver: Deliver, reply: Any
    ) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            link.send(lambda _sha: None, "SCRIPT", "LOAD", self._script)
            self._sent -= 1
            self._send(link, partial(self._on_answer, link, charge, deliver), words)
        else:
            self._on_answer(link, charge, deliver, reply)

    def _on_answer(self, link: Link, charge: Charge, deliver: Deliver, reply: Any) -> None:
        self._answered += 1
        if isinstance(reply, list):
            if self._refusal:
                self._refusal = ""
                self._report("")
            deliver(receipt(charge, reply))
        elif isinstance(reply, LinkLost):
            deliver(OutcomeUnknown(str(reply)))
        elif isinstance(reply, Unavailable):  # it was not sent
            deliver(reply)
        else:
            self._on_refusal(link, deliver, refusal(reply))

    def _on_refusal(self, link: Link, deliver: Deliver, problem: str) -> None:
        problem = problem.partition(" script: ")[0]  # and where in it
        if problem.startswith(("GARBLED ", "WRONGTYPE ")):
            self._report_garbled(problem)
            deliver(Unreadable(problem))
            return
        self._refusal = f"it does not count limits: {problem}"
        deliver(Unavailable(f"the store refused: {problem}"))
        link.abort(self._refusal)

    # deadlines

    def _look_later(self, link: Link, older: int, newer: int) -> None:
        """older, newer: how many requests had been sent at the look before the last, and then."""
        loop, pause = asyncio.get_running_loop(), self._deadline / LOOKS
        due = loop.time() + pause
        self._watch = loop.call_at(due, self._look, link, older, newer, due + pause)

    def _look(self, link: Link, older: int, newer: int, late: float) -> None:
        self._watch = None
        if self._link is None or self._answered >= self._sent:
            return
        if link is not self._link:
            self._look_later(self._link, 0, 0)
        elif asyncio.get_running_loop().time() > late:  # we stood still; what came may be unread
            self._look_later(link, older, newer)
        elif self._answered < older:
            link.abort(f"it has not answered for {self._deadline:g} s")
        else:
            self._look_later(link, newer, self._sent)

    def _on_lost(self, ended: asyncio.Event) -> None:
        self._link = None
        ended.set()

    # words to the operator, once each

    def _report(self, fault: str) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        if fault:
            log.warning("limits are not counted in the store: %s: %s", self._endpoint, fault)
        else:
            log.info("limits are counted in the store: %s", self._endpoint)

    def _report_garbled(self, problem: str) -> None:
        if problem not in self._garbled:
            if len(self._garbled) >= MAX_GARBLED:
                self._garbled.clear()
            self._garbled[problem] = None
            log.error("limits that cannot be read, to be mended by reset-limits: %s", problem)


def _expect_primary(role: object) -> None:
    if role != "master":
        raise Unavailable(f"it is a {role}; limits are counted on the primary")
