"""Cluster: finds the node of a cluster that owns a slot of our data.

All names of a partition share one hash tag, so they lie in one slot and one node owns them all.

The answers of the nodes are hints. A node that is cut off names the old owner, and so does one that
was forgotten. So they are asked in random order, the node that was named last after all others, and
the named one must prove itself: see feed.py and heartbeats.py.
"""

import asyncio
import binascii
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from authz.core.errors import Unavailable
from authz.core.listen_address import Address
from authz.storage import reconnect

ASK_SECONDS: Final = 0.25  # timeout for one node
SLOTS: Final = 16384

Ask = Callable[[Address], Awaitable[Any]]  # returns the reply of a node to CLUSTER SLOTS


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
        self._nodes: frozenset[Address] = frozenset()
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

        Asks the nodes in random order until one names it, each for at most ASK_SECONDS (0.25 s).
        Raises Unavailable if none does, with the problem of the last one.
        """
        hint, self._hint = self._hint, None
        if hint is None:
            hint = await self._named(ask)
        self._last = hint
        return hint

    async def _named(self, ask: Ask) -> Address:
        problem = ""
        for node in self._order():
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    owners = read_slots(await ask(node), node)
            except (Unavailable, OSError) as cause:
                problem = f"{node}: {reconnect.describe(cause, ASK_SECONDS)}"
                continue
            named = next((nodes for slots, nodes in owners if self._slot in slots), None)
            if named:
                self._nodes = frozenset(one for _, nodes in owners for one in nodes)
                return named[0]
            problem = f"{node}: no node serves slot {self._slot}"
        raise Unavailable(f"no node names the owner of our slot: {problem}")

    def _order(self) -> list[Address]:
        nodes = list({*self._seeds, *self._nodes})
        random.shuffle(nodes)
        return sorted(nodes, key=lambda node: node == self._last)


def read_slots(reply: Any, asked: Address) -> list[tuple[range, list[Address]]]:
    """Return the ranges of slots and their nodes, the owner first, from a reply to CLUSTER SLOTS.

    asked: the node that replied; its host stands for one that the reply leaves out. Raises
    Unavailable for any other reply.
    """
    try:
        return [
            (
                range(int(first), int(last) + 1),
                [Address(str(node[0] or asked.host), int(node[1])) for node in nodes],
            )
            for first, last, *nodes in reply
        ]
    except (TypeError, ValueError, LookupError, OverflowError):
        raise Unavailable("its answer to CLUSTER SLOTS cannot be read") from None
