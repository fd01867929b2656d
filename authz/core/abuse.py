"""FailureBuckets: which clients failed to authenticate so often that their failures cost nothing.

Only failures count. A request with a good key is never looked up here, so it is never refused for
its address, and no key is ever locked.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from authz.core.addresses import blocks_of, parse_address
from authz.core.bounded import BoundedDict
from authz.core.changes import Author
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.failure_budget import MAX_CLIENTS, FailureBudgets, client_of
from authz.core.fields import Network, networks

MINUTE_MS: Final = 60_000
MAX_ALLOWED: Final = 100  # networks, as `core.fields.networks`

# The caller has proven nothing. Other refusals need a good secret, or have no key at all.
FAILURES: Final = frozenset(
    {
        *(Reason.MALFORMED, Reason.FORGED, Reason.UNKNOWN_KEY, Reason.WRONG_SECRET),
        Reason.CANARY,
    }
)


class AbuseState(NamedTuple):
    """The state of the fleet. blocked: clients, with the end in ms. allowed: network -> author."""

    blocked: Mapping[str, int]
    allowed: Mapping[str, str]


class AbuseStore(Protocol):
    """Keeps the state of the fleet. Methods raise Unavailable."""

    async def read(self) -> AbuseState:
        """Return the clients that are blocked now, and the allowed networks."""
        ...

    async def unblock(self, clients: Sequence[str]) -> None:
        """End the blocks of these clients, at least one."""
        ...

    async def allow(self, network: str, by: str | None) -> None:
        """Keep a network with its author. Without one, forget it."""
        ...


class AbuseControl(Protocol):
    """Reads and changes the state of the fleet, for commands. Methods raise Unavailable."""

    async def read(self) -> AbuseState:
        """Return the clients that are blocked now, and the allowed networks."""
        ...

    async def clear(self, clients: Sequence[str], author: Author) -> int:
        """End the blocks of these clients; without any, all blocks. Return how many there were."""
        ...

    async def allow(self, network: str, author: Author, *, remove: bool = False) -> bool:
        """Allow a network: its clients are never blocked. remove: take it back.

        Return whether this changed anything. Raises BadInput for text that is no network, or if
        MAX_ALLOWED (100) are allowed already.
        """
        ...


class FailureBuckets:
    """Counts failures by client: an IPv4 address or an IPv6 /64 network.

    per_minute: how many failures a client may have in a minute; 0: any number. block_ms: how long
    the failures of a client with more are answered without a look. Times are ms since the epoch. At
    most MAX_CLIENTS (10,000) clients are counted, and as many are blocked; the oldest make room.
    """

    def __init__(self, per_minute: int, block_ms: int) -> None:
        self._block_ms = block_ms
        self._budgets = None
        if per_minute:
            self._budgets = FailureBudgets(per_minute, MINUTE_MS / per_minute)
        self._own: BoundedDict[str, int] = BoundedDict(MAX_CLIENTS)  # not published yet
        self._fleet: dict[str, int] = {}
        self._allowed = blocks_of(())

    def fail(self, address: str, now: int) -> bool:
        """Note a failure. Return whether the client is blocked, also by another sidecar.

        Text that is no address, such as that of a Unix socket, is never blocked.
        """
        if self._budgets is None:
            return False
        client = client_of(address)
        until = self._own.get(client) or self._fleet.get(client)
        if until is not None and now < until:
            return not self._is_allowed(address)
        if not client:
            return False
        if not self._budgets.wait(address, now):
            self._budgets.fail(address, now)
            return False
        if self._is_allowed(address):
            return False
        self._own.put(client, now + self._block_ms)
        return True

    def unpublished(self, most: int) -> dict[str, int]:
        """Return at most `most` clients that were blocked here since the last call, with the ends.

        They count as published from now on.
        """
        found: dict[str, int] = {}
        while self._own and len(found) < most:
            client, until = self._own.popitem(last=False)
            found[client] = until
        self._fleet |= found
        return found

    def put_back(self, found: Mapping[str, int]) -> None:
        """Take back clients that could not be published."""
        self._fleet = {client: end for client, end in self._fleet.items() if client not in found}
        for client, until in found.items():
            self._own.put(client, until)

    def forget_ended(self, now: int) -> None:
        """Forget the clients of the fleet whose block has ended: they begin anew."""
        ended = [client for client, until in self._fleet.items() if until <= now]
        for client in ended:
            del self._fleet[client]
            if self._budgets is not None:
                self._budgets.forget(client)

    def replace_fleet(self, blocked: Mapping[str, int], allowed: Iterable[str]) -> str:
        """Take the blocked clients and the allowed networks of the whole fleet.

        A client that is no longer blocked there begins anew. Left out are texts in `allowed` that
        are no network, and networks beyond MAX_ALLOWED (100). Return one such problem; else "".
        """
        found, problem = _readable(allowed)
        self._allowed = blocks_of(found)
        if self._budgets is not None:
            for client in self._fleet.keys() - blocked.keys():
                self._budgets.forget(client)
        self._fleet = dict(blocked)
        return problem

    def _is_allowed(self, address: str) -> bool:
        if not self._allowed:
            return False
        client = parse_address(address)
        return client is not None and any(client & mask == value for mask, value in self._allowed)


def _readable(texts: Iterable[str]) -> tuple[list[Network], str]:
    """Return the first MAX_ALLOWED networks in the order of their texts, and a problem or "".

    Of many texts 2 * MAX_ALLOWED are looked at, so that they do not stop Checks.
    """
    found: list[Network] = []
    problem = ""
    given = sorted(texts)
    for text in given[: 2 * MAX_ALLOWED]:
        try:
            found.append(network_of("allowed", text))
        except BadInput as cause:
            problem = problem or str(cause)
    if len(found) > MAX_ALLOWED or len(given) > 2 * MAX_ALLOWED:
        problem = f"allowed: at most {MAX_ALLOWED} networks"
    return found[:MAX_ALLOWED], problem


def network_of(field: str, text: str) -> Network:
    """Return an address or a CIDR block as a network. Raises BadInput for any other text."""
    (found,) = networks(field, [text])
    return found
