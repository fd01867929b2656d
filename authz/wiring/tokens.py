"""Composition root of short-lived tokens: the endpoint and the commands."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Final

from authz.console.assertion_keys import assertion_key_route
from authz.console.token_endpoint import TokenEndpoint
from authz.core.admin_ports import KeyStore
from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from authz.core.limits.key_limits import LimitPolicy
from authz.core.partitions import Partitions
from authz.core.ports import Clock, PepperProof
from authz.core.sightings import Sightings
from authz.core.tokens.signing_keys import SigningKey, verifying
from authz.core.tokens.text import new_key_id
from authz.flows.limits.limiter import Limiter
from authz.flows.tokens.exchange import Exchange, Spend
from authz.flows.tokens.inspection import TokenInspection
from authz.flows.tokens.issuing import IssuingRules, TokenIssuer
from authz.flows.tokens.key_rotation import KeyRotation
from authz.flows.tokens.ports import Entries
from authz.identity.es256 import PrivateKey
from authz.identity.private_keys import PrivateKeys
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.latest_meta import LatestMeta
from authz.storage.limits.spend_link import SpendLink
from authz.storage.meta import KnownPeppers
from authz.storage.signing_keys import StoredSigningKeys
from authz.storage.trail import StoredRows
from authz.wiring.administration import keyring, limit_policy, our_parts, partitions
from authz.wiring.assertions import assertion_key_set
from authz.wiring.session import TokenSession
from authz.wiring.store_parts import StoreParts
from authz.wiring.token_gate import ReadEntries, Uncounted, token_gate

if TYPE_CHECKING:  # the pages of the console take long to import
    from authz.console.login.site import Routes

MAX_KEYS: Final = 1_000  # whose limits are remembered between two exchanges
SPEND_DEADLINE: Final = 1.0  # seconds

log = logging.getLogger("authz.tokens")


@asynccontextmanager
async def token_endpoint(
    settings: Settings,
    signing: StoredSigningKeys,
    keys: KeyStore,
    *,
    ring: Keyring,
    meta: LatestMeta,
    clock: Clock,
    instance: str,
    sightings: Sightings,
) -> AsyncIterator[TokenEndpoint | None]:
    """Yield the token endpoint; None if the settings name no issuer.

    Its links for limits, one to each partition, end with the block. meta: the latest content of
    authz:meta. instance: of this process. sightings: collects uses of canary keys.
    """
    if not settings.tokens.issuer:
        yield None
        return
    stores = partitions(settings)
    links = [
        SpendLink(where, clock, instance=instance, deadline=SPEND_DEADLINE) for where in stores
    ]
    policy: LimitPolicy = limit_policy(settings)
    size = ceil(MAX_KEYS / len(links))
    limiters = [
        Limiter(link, policy, clock, Uncounted(), max_keys=size, leases=False) for link in links
    ]
    exchange = _exchange(
        settings,
        signing,
        keys,
        ring=ring,
        peppers=meta,
        entries=meta,
        clock=clock,
        spend=_spend(limiters),
        sightings=sightings,
    )
    entries = ring.signing_entries

    def published() -> Sequence[SigningKey] | None:
        found = entries.read_all(meta.signing)
        return verifying(found, clock.wall_ms()) if found or meta.is_current else None

    works = [asyncio.create_task(link.run(), name="token-limits") for link in links]
    try:
        yield TokenEndpoint(exchange, settings.tokens.issuer, published, _once_each())
    finally:
        await asyncio.gather(*(link.drain() for link in links))
        for work in works:
            work.cancel()


def _spend(limiters: Sequence[Limiter]) -> Spend:
    """Return what takes from the limits of a key: in its partition, if there are several."""
    if len(limiters) == 1:
        return limiters[0].spend
    home_of = Partitions(len(limiters)).home_of
    return lambda record, cost: limiters[home_of(record)].spend(record, cost)


def assertion_routes(settings: Settings, ring: Keyring) -> "Routes":
    """Return the route of the key set of assertions; empty if the settings name no issuer."""
    if not settings.identity.assertion_issuer:
        return []
    return [assertion_key_route(assertion_key_set(ring))]


@asynccontextmanager
async def token_session(settings: Settings) -> AsyncIterator[TokenSession]:
    """Yield a TokenSession, and close its client at the end. Its exchange takes from no limit.

    Raises BadInput without an issuer in the settings, and the errors of `our_parts`.
    """
    if not settings.tokens.issuer:
        raise BadInput("tokens.issuer", "is not set; there are no tokens without an issuer")
    ring, clock = keyring(settings), SystemClock()
    async with our_parts(settings, ring) as parts:
        keys = parts.keys
        store = StoredSigningKeys(parts.clients[0])  # signing keys belong to no key
        read = ReadEntries(await store.entries())
        peppers = KnownPeppers(await parts.stores[0].peppers(), ring.fingerprints)
        gate = token_gate(settings, ring, read, clock, Uncounted())
        assert gate is not None  # noqa: S101  there is an issuer
        yield TokenSession(
            key_rotation(settings, parts, ring),
            uncharged_exchange(
                settings, store, keys, ring=ring, peppers=peppers, entries=read, clock=clock
            ),
            TokenInspection(gate, keys),
        )


def uncharged_exchange(
    settings: Settings,
    signing: StoredSigningKeys,
    keys: KeyStore,
    *,
    ring: Keyring,
    peppers: PepperProof,
    entries: Entries,
    clock: Clock,
) -> Exchange:
    """Return the exchange of administrators, which takes nothing from limits."""
    return _exchange(
        settings,
        signing,
        keys,
        ring=ring,
        peppers=peppers,
        entries=entries,
        clock=clock,
        spend=lambda _record, _cost: None,
    )


def key_rotation(settings: Settings, parts: StoreParts, ring: Keyring) -> KeyRotation:
    """Return the rotation of signing keys for the issuer of the settings.

    Partition 0 has them: from there every sidecar reads them.
    """
    entries, private_keys = ring.signing_entries, PrivateKeys(ring.signing_seal_keys)
    rows = partial(StoredRows, has_replicas=partitions(settings)[0].has_replicas)
    store = parts.following(lambda found: found.at_first(StoredSigningKeys))
    notes = parts.following(lambda found: found.at_first(rows))

    def make(change_id: str, created_at: int, signs_from: int) -> tuple[SigningKey, str]:
        private = PrivateKey.generate()
        public = SigningKey(
            new_key_id(settings.tokens.issuer, change_id),
            private.x,
            private.y,
            created_at,
            signs_from,
            entries.newest,
        )
        return public, private_keys.seal(private, public)

    return KeyRotation(store, store, entries, make, notes=notes, clock=SystemClock())


def _exchange(
    settings: Settings,
    signing: StoredSigningKeys,
    keys: KeyStore,
    *,
    ring: Keyring,
    peppers: PepperProof,
    entries: Entries,
    clock: Clock,
    spend: Spend,
    sightings: Sightings | None = None,
) -> Exchange:
    tokens = settings.tokens
    issuer = TokenIssuer(
        entries,
        signing,
        ring.signing_entries,
        PrivateKeys(ring.signing_seal_keys).open,
        tags=ring.token_tags,
        rules=IssuingRules(tokens.issuer, tokens.accepted_audiences(), int(tokens.lifetime)),
        clock=clock,
    )
    return Exchange(*(keys, ring, peppers, clock), issuer=issuer, spend=spend, sightings=sightings)


def _once_each() -> Callable[[str], None]:
    """Return a function that logs a text unless it was the last one, so no caller can flood it."""
    last = ""

    def note(why: str) -> None:
        nonlocal last
        if why != last:
            last = why
            log.warning("an exchange was answered with 503: %s", why)

    return note
