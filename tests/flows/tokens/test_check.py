"""Checks of tokens: the record of the parent key decides, in every state of the link."""

from dataclasses import replace

import pytest

from authz.core.decision import Allow, Deny, Reason, StaleAllow, StaleDeny
from authz.core.records import Secret, Status
from authz.core.request import Route
from authz.flows.check import Checker
from tests.support.caches import make_cache
from tests.support.fakes import NOW, make_keyring, make_request
from tests.support.flows.rigs import CheckRig
from tests.support.tokens import ISSUER, GateRig, claims_of


class TokenRig(CheckRig):
    """A checker that accepts tokens, and a token of the issued key."""

    def __init__(self, grace=0.0):
        super().__init__()
        self.record = replace(self.record, scopes=frozenset({"a:*"}))
        self.source.records[self.record.kid] = self.record
        self.tokens = GateRig(self.clock, self.probe, ring=make_keyring(issuer=ISSUER))
        self.cache = make_cache(self.source, self.clock, self.probe, grace=grace)
        self.cache.trust(1e9)
        self.checker = Checker(
            self.cache, self.peppers, self.clock, self.probe, tokens=self.tokens.gate
        )
        self.token = self.tokens.issue(claims_of(self.record, scopes=frozenset({"a:read"})))

    def presented(self, token=None):
        """Return the credential of a token."""
        return self.tokens.ring.parse_token(token or self.token)

    def change(self, **fields):
        """Change the record in the store, and let the notice arrive."""
        record = replace(self.record, **fields)
        self.source.records[record.kid] = record
        self.cache.forget(record.kid, revoked=record.status is Status.REVOKED)


@pytest.fixture
def rig():
    """Return a rig whose cache is empty."""
    return TokenRig()


def asks(rig, token=None, **overrides):
    """Return a request with a token of the rig."""
    return make_request(credential=rig.presented(token), **overrides)


async def test_a_token_finds_its_key(rig):
    """The first request loads the record, later ones are decided at once with one signature."""
    assert await rig.decide(asks(rig)) == Allow(rig.record)
    request = asks(rig)
    assert rig.checker.check(request) == Allow(rig.record)
    assert request.token.scopes == {"a:read"}
    assert rig.tokens.signatures == 1
    assert rig.source.loads == {rig.record.kid: 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": Status.REVOKED}, Reason.REVOKED),
        ({"status": Status.DISABLED}, Reason.DISABLED),
        ({"expires_at": NOW}, Reason.EXPIRED),
        ({"not_before": NOW + 1}, Reason.NOT_YET_VALID),
        ({"scopes": frozenset()}, Reason.INSUFFICIENT_SCOPE),
        ({"allowed_hosts": ("other.example.com",)}, Reason.HOST_NOT_ALLOWED),
        ({"allowed_origins": ("https://app.example.com",)}, Reason.ORIGIN_NOT_ALLOWED),
        ({"public": True}, Reason.PUBLIC_KEY_NOT_ALLOWED),
        ({"secrets": (Secret("2", bytes(32), "1", NOW),)}, Reason.WRONG_SECRET),
    ],
)
async def test_a_change_of_the_key_ends_the_token(rig, change, reason):
    """After the notice the token is judged by the new record, as the key itself."""
    route = Route(scopes=frozenset({"a:read"}))
    assert await rig.decide(asks(rig, route=route)) == Allow(rig.record)
    rig.change(**change)

    assert (await rig.decide(asks(rig, route=route))).reason is reason


async def test_a_rotated_away_secret_ends_its_tokens(rig):
    """The token works until its secret retires, to the millisecond."""
    first = replace(rig.record.newest_secret, retires_at=NOW + 1000)
    rig.change(secrets=(first, Secret("2", bytes(range(32)), "1", NOW)))

    rig.clock.jump_wall(999)
    assert isinstance(await rig.decide(asks(rig)), Allow)
    rig.clock.jump_wall(1)
    assert (await rig.decide(asks(rig))).reason is Reason.SECRET_RETIRED


async def test_a_token_has_no_more_scopes_than_it_names(rig):
    """The key covers the route and the token does not."""
    route = Route(scopes=frozenset({"a:write"}))

    assert (await rig.decide(asks(rig, route=route))).reason is Reason.INSUFFICIENT_SCOPE


async def test_a_key_that_does_not_exist(rig):
    """A token of a key that was deleted is refused."""
    rig.source.records.clear()

    assert await rig.decide(asks(rig)) == Deny(Reason.UNKNOWN_KEY)


async def test_in_an_outage_a_token_works_as_long_as_its_key():
    """Without trust a cached key serves its tokens for the grace, new tokens included."""
    rig = TokenRig(grace=30)
    await rig.decide(asks(rig))
    rig.cache.trust(0)
    newer = rig.tokens.issue(claims_of(rig.record, token_id="1" + "n" * 15))
    for token in (rig.token, newer):
        assert await rig.decide(asks(rig, token)) == StaleAllow(rig.record)
    rig.clock.advance(29)
    assert isinstance(await rig.decide(asks(rig)), StaleAllow)
    rig.clock.advance(1)
    assert await rig.decide(asks(rig)) == Deny(Reason.UNAVAILABLE)

    rig.cache.forget(rig.record.kid, revoked=True)
    rig.cache.trust(rig.clock.monotonic() + 10)
    rig.cache.trust(0)
    found = await rig.decide(asks(rig))
    assert not isinstance(found, Allow)
    assert isinstance(found, (StaleDeny, Deny))


async def test_forged_tokens_cost_no_lookup(rig):
    """A text with a wrong tag is refused at once and asks nobody."""
    head, body, signature = rig.token.split(".")
    for text in (f"{head}.{body[:-6]}AAAAAA.{signature}", f"{head}..", f"{head}.x.y"):
        decision = rig.checker.check(asks(rig, text))
        assert isinstance(decision, Deny)
    assert rig.source.loads == {}
    assert rig.tokens.signatures == 0


def test_without_an_issuer_there_are_no_tokens():
    """A checker without a gate for tokens refuses what looks like one."""
    rig = TokenRig()
    checker = Checker(rig.cache, rig.peppers, rig.clock, rig.probe)

    assert checker.check(asks(rig)) == Deny(Reason.MALFORMED)
