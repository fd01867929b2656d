"""Composition root of access: the Authenticator of the administration API, from the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from authz.core.admin_ports import KeyStore
from authz.core.bearer_token import Expected
from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock, PepperProof
from authz.core.sightings import Sightings
from authz.flows.authentication import Authentication, KeyIdentifier
from authz.identity.code_login import CodeLogin, LoginClient
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
    settings: Settings,
    store: KeyStore,
    ring: Keyring,
    peppers: PepperProof,
    clock: Clock,
    *,
    sightings: Sightings | None = None,
) -> AsyncIterator[Authentication]:
    """Yield the Authenticator that the `admin` settings describe. At the end fetches are ended.

    Nothing is fetched before the first token arrives. sightings: collects uses of canary keys.
    """
    admin = settings.admin
    keys = key_identifier(settings, store, ring, peppers, clock, sightings=sightings)
    certificates = {uri: grant.binding() for uri, grant in admin.certificates.items()}
    provider = _provider(admin.oidc, admin.oidc.audience, clock) if admin.oidc else None
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


def key_identifier(
    settings: Settings,
    store: KeyStore,
    ring: Keyring,
    peppers: PepperProof,
    clock: Clock,
    *,
    sightings: Sightings | None = None,
) -> KeyIdentifier:
    """Return the part that identifies callers by keys. sightings: collects uses of canary keys."""
    return KeyIdentifier(
        store, ring, peppers, clock, settings.admin.own_actions(), sightings=sightings
    )


@asynccontextmanager
async def issuer_login(settings: Settings, clock: Clock) -> AsyncIterator[CodeLogin | None]:
    """Yield the login at the issuer; None if `admin.console.login` is not set.

    Raises BadInput without `admin.oidc`, or if the file of the client's secret cannot be read.
    """
    oidc, login = settings.admin.oidc, settings.admin.console.login
    if login is None:
        yield None
        return
    if oidc is None:
        raise BadInput("admin.console.login", "needs admin.oidc, which names the issuer and roles")
    secret = _secret(login.client_secret) if login.client_secret else ""
    client = LoginClient(oidc.issuer, login.client_id, secret, login.scopes)
    tokens = _provider(oidc, client.client_id, clock)
    try:
        yield CodeLogin(WebClient(oidc.ca), client, tokens, clock)
    finally:
        await tokens.close()


def _provider(oidc: Oidc, audience: str, clock: Clock) -> Provider:
    client = WebClient(oidc.ca)
    fetch = located(client, oidc.jwks_url) if oidc.jwks_url else discovered(client, oidc.issuer)
    rules = ClaimRules(oidc.subject_claim, oidc.roles_claim, oidc.granted())
    return Provider(
        SigningKeys(fetch, clock, oidc.keys_grace),
        Expected(oidc.issuer, audience, oidc.clock_skew),
        rules,
        clock,
    )


def _secret(file: Path) -> str:
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is not text"
        raise BadInput("admin.console.login.client_secret", f"{file}: {why}") from None
    if not found:
        raise BadInput("admin.console.login.client_secret", f"{file}: it is empty")
    return found
