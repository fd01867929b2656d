"""Composition root of access: the Authenticator of the administration API, from the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authz.core.admin_ports import KeyStore
from authz.core.bearer_token import Expected
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock, PepperProof
from authz.flows.authentication import Authentication, KeyIdentifier
from authz.identity.provider import ClaimRules, Provider
from authz.identity.signing_keys import SigningKeys, discovered, located
from authz.process.clock import SystemClock
from authz.process.web_client import WebClient
from authz.settings.admin import Oidc
from authz.settings.model import Settings
from authz.storage.meta import KnownPeppers
from authz.wiring.administration import keyring, our_store


@asynccontextmanager
async def authentication(
    settings: Settings, store: KeyStore, ring: Keyring, peppers: PepperProof, clock: Clock
) -> AsyncIterator[Authentication]:
    """Yield the Authenticator that the `admin` settings describe. At the end fetches are ended.

    Nothing is fetched before the first token arrives.
    """
    admin = settings.admin
    keys = KeyIdentifier(store, ring, peppers, clock, admin.own_actions())
    certificates = {uri: grant.binding() for uri, grant in admin.certificates.items()}
    provider = _provider(admin.oidc, clock) if admin.oidc else None
    try:
        yield Authentication(keys, provider, certificates)
    finally:
        if provider is not None:
            await provider.close()


@asynccontextmanager
async def local_authentication(settings: Settings) -> AsyncIterator[Authentication]:
    """Yield the Authenticator with a store client of its own, for a command.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable, Emptied or
    Foreign if it is not ours.
    """
    ring, clock = keyring(settings), SystemClock()
    async with our_store(settings, ring) as (_, keys):
        peppers = KnownPeppers(await keys.peppers(), ring.fingerprints)
        async with authentication(settings, keys, ring, peppers, clock) as found:
            yield found


def _provider(oidc: Oidc, clock: Clock) -> Provider:
    client = WebClient(oidc.ca)
    fetch = located(client, oidc.jwks_url) if oidc.jwks_url else discovered(client, oidc.issuer)
    granted = {name: grant.binding() for name, grant in oidc.roles.items()}
    return Provider(
        SigningKeys(fetch, clock, oidc.keys_grace),
        Expected(oidc.issuer, oidc.audience, oidc.clock_skew),
        ClaimRules(oidc.subject_claim, oidc.roles_claim, granted),
        clock,
    )
