"""Sessions of the console: opened, judged anew at each request, and ended."""

from dataclasses import replace

import pytest

from authz.core.access import Binding, Caller, Kind, Refusal, RefusalKind
from authz.core.console_session import ProvedSubject, SessionTimes
from authz.core.fields import networks
from authz.core.login_link import LINK_MS
from authz.core.records import Secret, Status
from authz.core.roles import OwnAction, Role
from authz.core.sealed_text import SealedTexts
from authz.flows.authentication import KeyIdentifier
from authz.flows.console_sessions import ConsoleSessions, OpenSession, login_link
from authz.storage.meta import KnownPeppers
from tests.support.fakes import (
    FakeClock,
    MemoryKeyStore,
    MemoryRequestStore,
    MemorySessionEnds,
    issue_record,
    make_keyring,
)

RING = make_keyring()
PEER = "192.0.2.7"
TIMES = SessionTimes(idle=1_800_000, whole=28_800_000, claims=3_600_000)
GRANTED = {"platform": Binding(Role.ADMIN), "acme": Binding(Role.VIEWER, frozenset({"acme"}))}


class Rig:
    """Sessions over stores in memory, and one key of an administrator."""

    def __init__(self, granted=GRANTED):
        self.clock, self.store, self.ends = FakeClock(), MemoryKeyStore(), MemorySessionEnds()
        self.links = MemoryRequestStore()
        self.seals = SealedTexts(RING.session_keys)
        self.sessions = self.with_granted(granted)
        self.record, self.text = issue_record(RING, scopes=frozenset({"authz:admin"}))
        self.put()

    def with_granted(self, granted):
        """Return the sessions after a restart with other roles in the settings."""
        peppers = KnownPeppers(RING.fingerprints, RING.fingerprints)
        keys = KeyIdentifier(self.store, RING, peppers, self.clock, frozenset({OwnAction.READ}))
        return ConsoleSessions(
            self.seals,
            keys,
            granted=granted,
            ends=self.ends,
            links=self.links,
            clock=self.clock,
            times=TIMES,
        )

    def put(self, **changes):
        """Change the key's record."""
        self.record = replace(self.record, **changes)
        self.store.records[self.record.kid] = self.record

    async def open(self):
        """Open a session for the key."""
        found = await self.sessions.open_by_key(self.text, PEER)
        assert isinstance(found, OpenSession)
        return found

    def link(self):
        """Return a new login link for the key."""
        return login_link(self.seals, self.record.kid, "1", self.clock.wall_ms())


def why(found):
    """Return the reason of a refusal."""
    assert isinstance(found, Refusal), found
    return found.why


@pytest.fixture
def rig():
    """Sessions, and one key."""
    return Rig()


async def test_a_key_opens_a_session(rig):
    """The session has the caller of the key, and its cookie does not have the key."""
    opened = await rig.open()
    again = await rig.sessions.resume(opened.sealed, PEER)
    assert isinstance(again, OpenSession)
    assert again.caller == opened.caller
    assert again.caller.actor == f"key:{rig.record.kid}"
    assert again.caller.bindings == (Binding(Role.ADMIN),)
    assert again.sealed == ""
    text = rig.seals.open(opened.sealed, "session", most=4096)
    assert text is not None
    assert rig.text not in text
    assert rig.text.split("_")[-1] not in text


@pytest.mark.parametrize("given", ["", "x", "ak_live_x", "a" * 5000])
async def test_texts_that_are_no_key(rig, given):
    """A text that is no key opens no session."""
    assert isinstance(await rig.sessions.open_by_key(given, PEER), Refusal)


async def test_a_holder_opens_no_session(rig):
    """A key without the scope of a role may use the API for itself, and not the console."""
    rig.put(scopes=frozenset({"orders:read"}))
    assert why(await rig.sessions.open_by_key(rig.text, PEER)) == "key: it has no role"


LOSSES = {
    "revoked": {"status": Status.REVOKED},
    "disabled": {"status": Status.DISABLED},
    "expired": {"expires_at": 1},
    "bound to other addresses": {"allowed_cidrs": networks("", ["198.51.100.0/24"])},
    "without a role": {"scopes": frozenset()},
    "with another secret": {"secrets": (Secret("2", b"x" * 32, "1", 1),)},
}


@pytest.mark.parametrize("change", LOSSES.values(), ids=list(LOSSES))
async def test_a_key_that_lost_its_rights(rig, change):
    """The next request of the session is refused."""
    opened = await rig.open()
    rig.put(**change)
    assert isinstance(await rig.sessions.resume(opened.sealed, PEER), Refusal)


async def test_a_retired_secret(rig):
    """A session ends when the secret that opened it retires, also if the key has a new one."""
    opened = await rig.open()
    (old,) = rig.record.secrets
    later = rig.clock.wall_ms() + 1000
    rig.put(secrets=(replace(old, retires_at=later), Secret("2", b"y" * 32, "1", later)))
    assert isinstance(await rig.sessions.resume(opened.sealed, PEER), OpenSession)
    rig.clock.advance(1)
    assert "secret" in why(await rig.sessions.resume(opened.sealed, PEER))


async def test_a_deleted_key(rig):
    """A session of a key that is gone is refused."""
    opened = await rig.open()
    del rig.store.records[rig.record.kid]
    assert why(await rig.sessions.resume(opened.sealed, PEER)) == "key: unknown"


async def test_a_narrowed_key(rig):
    """The session goes on with the rights that the key has now."""
    opened = await rig.open()
    rig.put(scopes=frozenset({"authz:viewer"}), tenant_id="acme")
    found = await rig.sessions.resume(opened.sealed, PEER)
    assert isinstance(found, OpenSession)
    assert found.caller.bindings == (Binding(Role.VIEWER, frozenset({"acme"})),)


async def test_an_idle_session(rig):
    """Without a request for the idle time the session is over; each request begins it anew."""
    sealed = (await rig.open()).sealed
    for _ in range(3):
        rig.clock.advance(TIMES.idle / 1000 - 1)
        found = await rig.sessions.resume(sealed, PEER)
        assert isinstance(found, OpenSession)
        assert found.sealed
        sealed = found.sealed
    rig.clock.advance(TIMES.idle / 1000)
    assert "over" in why(await rig.sessions.resume(sealed, PEER))


async def test_a_session_has_an_end(rig):
    """A session that is always used ends at its absolute time."""
    sealed, minutes = (await rig.open()).sealed, 0
    while isinstance(found := await rig.sessions.resume(sealed, PEER), OpenSession):
        sealed = found.sealed or sealed
        rig.clock.advance(600)
        minutes += 10
    assert minutes * 60_000 == TIMES.whole


@pytest.mark.parametrize("everywhere", [False, True])
async def test_logout(rig, everywhere):
    """A logout ends this session for good, and with `everywhere` each one of the actor."""
    one, two = await rig.open(), await rig.open()
    rig.clock.advance(1)
    await rig.sessions.end(one.session, everywhere=everywhere)
    assert why(await rig.sessions.resume(one.sealed, PEER)) == "session: it was ended"
    assert isinstance(await rig.sessions.resume(two.sealed, PEER), Refusal) is everywhere
    rig.clock.advance(1)
    later = await rig.open()
    assert isinstance(await rig.sessions.resume(later.sealed, PEER), OpenSession)


@pytest.mark.parametrize("everywhere", [False, True])
async def test_logout_at_a_process_whose_clock_is_behind(rig, everywhere):
    """A session that began in the future of this process ends, too."""
    opened = await rig.open()
    rig.clock.advance(-5)
    await rig.sessions.end(opened.session, everywhere=everywhere)
    assert why(await rig.sessions.resume(opened.sealed, PEER)) == "session: it was ended"


async def test_a_renewed_cookie_is_ended_too(rig):
    """A logout with an old cookie also ends the cookies that followed from it."""
    first = await rig.open()
    rig.clock.advance(120)
    second = await rig.sessions.resume(first.sealed, PEER)
    await rig.sessions.end(first.session)
    assert why(await rig.sessions.resume(second.sealed, PEER)) == "session: it was ended"


async def test_without_the_store(rig):
    """If the store does not answer, nothing is allowed, and the session is not over."""
    opened = await rig.open()
    rig.ends.down = True
    found = await rig.sessions.resume(opened.sealed, PEER)
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAVAILABLE
    rig.ends.down, rig.store.down = False, True
    found = await rig.sessions.resume(opened.sealed, PEER)
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAVAILABLE
    rig.store.down = False
    assert isinstance(await rig.sessions.resume(opened.sealed, PEER), OpenSession)


async def test_another_seal(rig):
    """A cookie that was sealed with another pepper, or for another use, opens nothing."""
    opened = await rig.open()
    stranger = SealedTexts(make_keyring("ak", "9").session_keys)
    forged = stranger.seal(opened.session.text(), "session")
    assert isinstance(await rig.sessions.resume(forged, PEER), Refusal)
    assert isinstance(await rig.sessions.resume(rig.link(), PEER), Refusal)


async def test_a_login_link_works_once(rig):
    """The second use of a link is refused, also while the first one's session lives."""
    token = rig.link()
    opened = await rig.sessions.open_by_link(token, PEER)
    assert isinstance(opened, OpenSession)
    assert opened.caller.kid == rig.record.kid
    assert why(await rig.sessions.open_by_link(token, PEER)) == "link: used before"
    assert isinstance(await rig.sessions.open_by_link(rig.link(), PEER), OpenSession)


async def test_an_old_link(rig):
    """A link ends after ten minutes."""
    token = rig.link()
    rig.clock.advance(LINK_MS / 1000)
    assert why(await rig.sessions.open_by_link(token, PEER)) == "link: too old"


async def test_a_link_to_a_revoked_key(rig):
    """A link opens nothing that the key itself would not open."""
    token = rig.link()
    rig.put(status=Status.REVOKED)
    assert isinstance(await rig.sessions.open_by_link(token, PEER), Refusal)
    assert isinstance(await rig.sessions.open_by_link("x", PEER), Refusal)


async def test_a_subject_of_the_identity_provider(rig):
    """A session of a subject has the roles of its claims, by the settings of now."""
    opened = rig.sessions.open_by_claims(ProvedSubject("alice", ("acme", "platform"), "Al"))
    assert isinstance(opened, OpenSession)
    assert opened.session.label == "Al"
    found = await rig.sessions.resume(opened.sealed, PEER)
    assert isinstance(found, OpenSession)
    assert found.caller == Caller("alice", Kind.OIDC, tuple(GRANTED.values()))
    narrowed = rig.with_granted({"acme": GRANTED["acme"]})
    found = await narrowed.resume(opened.sealed, PEER)
    assert isinstance(found, OpenSession)
    assert found.caller.bindings == (GRANTED["acme"],)
    assert "no role" in why(await rig.with_granted({}).resume(opened.sealed, PEER))
    rig.clock.advance(TIMES.claims / 1000)
    assert "over" in why(await rig.sessions.resume(opened.sealed, PEER))


def test_a_subject_without_a_role(rig):
    """A subject whose claims give no role gets no session."""
    assert "no role" in why(rig.sessions.open_by_claims(ProvedSubject("bob", ("others",))))


def test_claims_that_do_not_fit(rig):
    """Claims that are too large for a cookie are refused, and not cut."""
    granted = {f"{'r' * 100}{number}": Binding(Role.ADMIN) for number in range(60)}
    refused = rig.with_granted(granted).open_by_claims(ProvedSubject("bob", tuple(granted)))
    assert "do not fit" in why(refused)
