"""Cluster: finds the node of a cluster that owns a slot of our data.

All names of a partition share one hash tag, so they lie in one slot and one node owns them all.

The answers of the nodes are hints. A node that is cut off names the old owner, and so does one that
was forgotten. So several are asked, until AGREE (2) of them name the same owner. They are asked in
random order, the node that was named last after all others. It may still be asked first, by another
of its addresses. So two answers count as two only if they are of two nodes: the answers give each
address the id of its node. The named one must prove itself: see feed.py and heartbeats.py.
"""

import asyncio
import binascii
import random
import re
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final

from authz.core.errors import Unavailable
from authz.core.listen_address import Address
from authz.storage import reconnect

ASK_SECONDS: Final = 0.25  # timeout for one node
NEXT_SECONDS: Final = 0.05  # without an answer, after which one more node is asked
AGREE: Final = 2  # nodes that name the same owner
SLOTS: Final = 16384
PORTS: Final = range(1 << 16)
MAX_HOST: Final = 255  # characters, RFC 1035 2.3.4
UNREADABLE: Final = "its answer to CLUSTER SLOTS cannot be read"

Ask = Callable[[Address], Awaitable[Any]]  # returns the reply of a node to CLUSTER SLOTS
Owners = list[tuple[range, list[Address]]]  # ranges of slots and their nodes, the owner first
Ids = dict[Address, str]  # of nodes, by address
Answer = tuple[Owners, Ids] | Exception


def slot_of(name: str) -> int:
    """Return the slot of a name: CRC16 of its hash tag, or of the whole name without one.

    Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
    """
    tag = name.partition("{")[2].partition("}")
    part = tag[0] if tag[0] and tag[1] else name
    return binascii.crc_hqx(part.encode(), 0) % SLOTS


class Cluster:
    """Knows the nodes of a cluster, and which of them owns `slot`.

    seeds: nodes that are always asked. Other nodes are asked while the last answer names them.
    """

    def __init__(self, seeds: Iterable[Address], slot: int) -> None:
        self._seeds = tuple(seeds)
        self._slot = slot
        self._nodes: Ids = {}
        self._hint: Address | None = None
        self._last: Address | None = None
        self.moves = 0
        """How many times a node has refused us because another one owns the slot."""

    def __str__(self) -> str:
        return ",".join(map(str, self._seeds))

    def of_slot(self, slot: int) -> "Cluster":
        """Return the same cluster for another slot. It has only the seeds in common with this."""
        return Cluster(self._seeds, slot)

    def note_move(self, owner: str) -> None:
        """Note the address that a node gave with MOVED: the next `owner` returns it once.

        owner: `host:port`; ignored without a host, which then is one that we do not know, and with
        a port that is no number.
        """
        self.moves += 1
        host, _, port = owner.rpartition(":")
        if host and re.fullmatch(r"[0-9]{1,5}", port):
            self._hint = Address(host, int(port))

    @property
    def named(self) -> Address | None:
        """The address that `owner` returned last, or None before the first one."""
        return self._last

    async def owner(self, ask: Ask) -> Address:
        """Return the address of the node that is said to own the slot.

        Asks the nodes as `agreed` does. If no two agree, it is one that was named, and rather not
        the one that was returned last. Raises Unavailable if none is named, with the problem of the
        last node.
        """
        hint, self._hint = self._hint, None
        if hint is None:
            named, problem = await self._ask(ask)
            if not named:
                raise Unavailable(f"no node names the owner of our slot: {problem}")
            hint = max(named, key=lambda node: (named[node] >= AGREE, node != self._last))
        self._last = hint
        return hint

    async def agreed(self, ask: Ask) -> Address | None:
        """Return the address that two nodes name as the owner, or None if no two agree.

        Ask two nodes at once, each for at most ASK_SECONDS (0.25 s). After each answer, or
        NEXT_SECONDS (50 ms) without one, it asks one more.
        """
        named, _ = await self._ask(ask)
        return next((node for node, times in named.items() if times >= AGREE), None)

    async def _ask(self, ask: Ask) -> tuple[dict[Address, int], str]:
        """Return how many nodes name each owner, and the problem of the last one that names none.

        Ends when AGREE nodes name the same. An address that no answer lists may be one more of a
        node that is. So it counts only before an answer is known, and apart from those listed.
        """
        known, named = self._nodes, dict[Address, int]()
        votes: dict[tuple[Address, bool], set[str]] = defaultdict(set)
        problem = ""
        async with aclosing(_answers(self._order(), ask)) as answers:
            async for node, answer in answers:
                if isinstance(answer, Exception):
                    problem = f"{node}: {reconnect.describe(answer, ASK_SECONDS)}"
                    continue
                owners, ids = answer
                owner = next((nodes[0] for slots, nodes in owners if self._slot in slots), None)
                if owner is None:
                    problem = f"{node}: no node serves slot {self._slot}"
                    continue
                self._nodes = ids
                voter = ids.get(node) or known.get(node)
                alike = votes[owner, voter is not None]
                if voter or not known:
                    alike.add(voter or str(node))
                named[owner] = max(named.get(owner, 0), len(alike))
                if named[owner] >= AGREE:
                    break
        return named, problem

    def _order(self) -> list[Address]:
        nodes = list({*self._seeds, *self._nodes})
        random.shuffle(nodes)
        return sorted(nodes, key=lambda node: node == self._last)


async def _answers(
    nodes: Iterable[Address], ask: Ask
) -> AsyncGenerator[tuple[Address, Answer], None]:
    """Yield the answer of each node, or why there is none. See `Cluster.agreed` for the order."""
    left, asked = deque(nodes), set[asyncio.Task[tuple[Address, Answer]]]()
    more = AGREE
    try:
        while True:
            while left and more:
                asked.add(asyncio.create_task(_answer(left.popleft(), ask)))
                more -= 1
            if not asked:
                return
            wait = NEXT_SECONDS if left else None
            done, _ = await asyncio.wait(asked, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            asked -= done
            more = max(1, len(done))
            for one in done:
                yield one.result()
    finally:
        for one in asked:
            one.cancel()


async def _answer(node: Address, ask: Ask) -> tuple[Address, Answer]:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            reply = await ask(node)
            return node, (read_slots(reply, node), _read_ids(reply, node))
    except (Unavailable, OSError) as cause:
        return node, cause


def read_slots(reply: Any, asked: Address) -> Owners:
    """Return the ranges of slots and their nodes, the owner first, from a reply to CLUSTER SLOTS.

    A range without nodes is left out: each range of the result has an owner. asked: the node that
    replied; its host stands for one that the reply leaves out. Raises Unavailable for any other
    reply, also if a slot is not within 0 to 16383, a port not within 0 to 65535, or if a host is
    longer than MAX_HOST (255) characters or not printable.
    """
    match reply:
        case [*ranges] if len(ranges) <= SLOTS:
            found = [_read_range(one, asked) for one in ranges]
            return [(slots, nodes) for slots, nodes in found if nodes]
    raise Unavailable(UNREADABLE)


def _read_range(found: Any, asked: Address) -> tuple[range, list[Address]]:
    match found:
        case [int(first), int(last), *nodes] if 0 <= first <= last < SLOTS:
            return range(first, last + 1), [_read_node(node, asked) for node in nodes]
    raise Unavailable(UNREADABLE)


def _read_node(found: Any, asked: Address) -> Address:
    match found:
        case [None, int(port), *_] if port in PORTS:
            return Address(asked.host, port)
        case [str(host), int(port), *_] if port in PORTS:
            if len(host) <= MAX_HOST and host.isprintable():
                return Address(host or asked.host, port)
    raise Unavailable(UNREADABLE)


def _read_ids(reply: Any, asked: Address) -> Ids:
    """Return the ids in a reply that `read_slots` takes; for a node without one, its address."""
    found = [(_read_node(node, asked), node) for _, _, *nodes in reply for node in nodes]
    return {address: _read_id(node) or str(address) for address, node in found}


def _read_id(node: Any) -> str:
    match node:
        case [_, _, str(node_id), *_]:
            return node_id
    return ""
