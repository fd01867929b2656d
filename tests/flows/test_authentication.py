"""Credentials of the administration API: exactly one, and each of the three kinds."""

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.access import Binding, Caller, Credentials, Kind, Refusal, RefusalKind, may, may_own
from authz.core.fields import networks
from authz.core.keys.text import checksum
from authz.core.records import Secret, Status
from authz.core.roles import Action, OwnAction, Role
from authz.flows.authentication import Authentication, KeyIdentifier
from authz.storage.meta import KnownPeppers
from tests.support.fakes import (
    DAY,
    NOW,
    FakeClock,
    MemoryKeyStore,
    issue_record,
    make_keyring,
)

RING: Final = make_keyring()
CERTIFICATE: Final = "spiffe://cluster.local/ns/ops/sa/deployer"
DEPLOYER: Final = Binding(Role.ISSUER, frozenset({"acme"}))
PEER: Final = "192.0.2.7"


class Tokens:
    """A TokenIdentifier that knows one token."""

    async def identify(self, text: str) -> Caller | Refusal:
        """Implement TokenIdentifier.identify."""
        if text == "good.token.x":
            return Caller("alice", Kind.OIDC)
        return Refusal(RefusalKind.UNAUTHENTICATED, "token: bad")


class World:
    """An Authentication over a store in memory."""

    def __init__(self, *own: OwnAction) -> None:
        self.store = MemoryKeyStore()
        peppers = KnownPeppers(RING.fingerprints, RING.fingerprints)
        self.keys = KeyIdentifier(self.store, RING, peppers, FakeClock(), frozenset(own))
        self.door = Authentication(self.keys, Tokens(), {CERTIFICATE: DEPLOYER})

    def key(self, *scopes: str, **overrides) -> str:
        """Put a key with these scopes into the store, and return its text."""
        record, text = issue_record(RING, scopes=frozenset(scopes), **overrides)
        self.store.records[record.kid] = record
        return text

    async def ask(self, *authorization: str, uris: tuple[str, ...] = ()) -> Caller | Refusal:
        """Authenticate a request with these `authorization` headers and this certificate."""
        return await self.door.authenticate(Credentials(authorization, uris, PEER))


def is_refused(found: Caller | Refusal) -> bool:
    """Return whether the credentials were refused as a caller sees it: 401."""
    return isinstance(found, Refusal) and found.kind is RefusalKind.UNAUTHENTICATED


async def test_a_key_with_a_role_is_an_operator_within_its_tenant():
    """The scopes give the roles; tenant and project of the key bind them."""
    world = World()
    text = world.key("authz:issuer", "authz:auditor", tenant_id="acme", project_id="web")
    found = await world.ask(f"Bearer {text}")
    assert isinstance(found, Caller)
    assert (found.kind, found.kid) == (Kind.KEY, found.subject)
    assert may(found, Action.CREATE, "acme", "web")
    assert not may(found, Action.CREATE, "acme", "")
    assert not may(found, Action.CREATE, "globex", "web")
    assert not may(found, Action.UPDATE, "acme", "web")


async def test_a_holder_may_do_its_own_actions_only():
    """A key without a role is a holder, if the settings allow an action."""
    world = World(OwnAction.READ)
    text = world.key("models:*", "*", tenant_id="acme")
    found = await world.ask(f"Bearer {text}")
    assert isinstance(found, Caller)
    assert (found.kind, found.bindings) == (Kind.HOLDER, ())
    assert may_own(found, OwnAction.READ)
    assert not may_own(found, OwnAction.ROTATE)
    assert not any(may(found, action, "acme") for action in Action)


async def test_without_self_service_a_holder_is_nobody():
    """A good key without a role is refused like a wrong one."""
    world = World()
    assert is_refused(await world.ask(f"Bearer {world.key('models:*')}"))


@pytest.mark.parametrize(
    "overrides",
    [
        {"status": Status.REVOKED},
        {"status": Status.DISABLED},
        {"expires_at": NOW},
        {"not_before": NOW + 1},
        {"allowed_cidrs": networks("cidr", ["10.0.0.0/8"])},
        {"allowed_hosts": ("api.example.com",)},
        {"allowed_origins": ("https://example.com",)},
        {"public": True},
        {"public": True, "allowed_origins": ("https://example.com",), "plan": "web"},
        {"secrets": (Secret("1", bytes(32), "1", NOW),)},
    ],
)
async def test_every_check_of_a_key_counts_here_too(overrides):
    """A key that a backend's route would refuse opens nothing here."""
    world = World(*OwnAction)
    assert is_refused(await world.ask(f"Bearer {world.key('authz:admin', **overrides)}"))


async def test_an_address_inside_the_blocks_is_accepted():
    """The address is the peer's, never one that a header claims."""
    world = World()
    text = world.key("authz:admin", allowed_cidrs=networks("cidr", ["192.0.2.0/24"]))
    assert isinstance(await world.ask(f"Bearer {text}"), Caller)


async def test_a_retired_secret_is_refused():
    """After a rotation without overlap the old text opens nothing."""
    world = World()
    text = world.key("authz:admin")
    (record,) = world.store.records.values()
    retired = replace(record.newest_secret, retires_at=NOW - DAY)
    fresh = Secret("2", bytes(range(32)), "1", NOW)
    world.store.records[record.kid] = replace(record, secrets=(retired, fresh))
    assert is_refused(await world.ask(f"Bearer {text}"))


async def test_a_key_is_unavailable_without_the_store():
    """Whether the key is good is unknown; a forged key is refused without the store."""
    world = World()
    text = world.key("authz:admin")
    world.store.down = True
    found = await world.ask(f"Bearer {text}")
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAVAILABLE
    body = text[:40] + ("x" if text[40] != "x" else "y") + text[41:-6]
    assert is_refused(await world.ask(f"Bearer {body + checksum(body)}"))


async def test_a_key_of_a_pepper_that_is_missing_here_is_unavailable():
    """The key may be good: another administrator may have the pepper."""
    world = World()
    text = make_keyring("ak", "2").mint("live").text
    peppers = KnownPeppers(make_keyring("ak", "1", "2").fingerprints, RING.fingerprints)
    keys = KeyIdentifier(world.store, RING, peppers, FakeClock())
    found = await keys.identify(text, PEER)
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAVAILABLE


async def test_a_certificate_gives_the_role_of_its_uri():
    """The exact URI counts. Another one is no credential."""
    world = World()
    found = await world.ask(uris=("spiffe://other", CERTIFICATE))
    assert found == Caller(CERTIFICATE, Kind.CERTIFICATE, (DEPLOYER,))
    assert found.actor == f"cert:{CERTIFICATE}"
    assert is_refused(await world.ask(uris=("spiffe://other",)))
    assert is_refused(await world.ask(uris=(CERTIFICATE + "/x",)))
    assert is_refused(await world.ask(uris=(CERTIFICATE.upper(),)))


async def test_a_certificate_without_a_role_only_protects_the_connection():
    """Then the bearer credential is the one that counts."""
    world = World()
    found = await world.ask("Bearer good.token.x", uris=("spiffe://mesh/ns/default",))
    assert found == Caller("alice", Kind.OIDC)


async def test_several_credentials_are_refused():
    """Which of two credentials counts must not depend on who reads them."""
    world = World()
    key = f"Bearer {world.key('authz:admin')}"
    for authorization, uris in (
        ((key, key), ()),
        ((key, "Bearer good.token.x"), ()),
        ((key,), (CERTIFICATE,)),
        (("Bearer good.token.x",), (CERTIFICATE,)),
        ((f"{key}, Bearer good.token.x",), ()),
        ((), (CERTIFICATE, CERTIFICATE)),
    ):
        assert is_refused(await world.ask(*authorization, uris=uris))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(scheme: str):
    """RFC 9110 section 11.1: the scheme is not case-sensitive."""
    assert isinstance(await World().ask(f"{scheme} good.token.x"), Caller)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  good.token.x",
        " Bearer good.token.x",
        "Bearer good.token.x ",
        "Bearer good.token.x\n",
        "Bearer\tgood.token.x",
        "Basic YWxpY2U6cHc=",
        "good.token.x",
        "Bearer x" + "x" * 9000,
        "Bearer é",
        "Bearer ak_live_",
        "Bearer ak_live_7Hk2mQ9xT4bVzR1c_1" + "a" * 60,
    ],
)
async def test_other_headers_are_refused(header: str):
    """One word after the scheme, and nothing else."""
    assert is_refused(await World().ask(header))


async def test_no_credential_is_refused():
    """There is no anonymous caller."""
    assert is_refused(await World().ask())


async def test_without_an_issuer_no_token_is_accepted():
    """A part that is not configured identifies nobody."""
    door = Authentication(None)
    assert is_refused(await door.authenticate(Credentials(("Bearer good.token.x",))))
    assert is_refused(await door.authenticate(Credentials(certificate_uris=(CERTIFICATE,))))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.text(max_size=40)
        | st.sampled_from(["Bearer ak_live_", "Bearer ak_", "Bearer good.token.x"]),
        max_size=2,
    ),
    st.lists(st.text(max_size=20) | st.just(CERTIFICATE), max_size=2),
    st.text(max_size=10),
)
async def test_no_credentials_make_an_exception(authorization, uris, peer):
    """Any headers, URIs and addresses get a caller or a refusal."""
    found = await World().door.authenticate(Credentials(tuple(authorization), tuple(uris), peer))
    assert isinstance(found, Caller) or found.kind is RefusalKind.UNAUTHENTICATED
