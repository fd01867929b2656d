"""Exchange: which keys get a token, which rights it has, and what a wrong key learns."""

import asyncio
from dataclasses import replace

import pytest

from authz.core.errors import Unavailable
from authz.core.limits.key_limits import LimitPolicy, LimitResult
from authz.core.limits.limit import parse_limits
from authz.core.records import Status
from authz.core.tokens import text
from authz.core.tokens.text import MAX_LIFETIME
from authz.flows.tokens.exchange import BAD_SUBJECT, Ask, Exchange, ExchangeError, Refused
from authz.flows.tokens.issuing import Issued, IssuingRules, TokenIssuer, Wish
from authz.identity.private_keys import PrivateKeys
from tests.support.fakes import (
    DAY,
    NOW,
    FakeClock,
    MemoryKeyStore,
    RecordingProbe,
    issue_record,
    make_keyring,
)
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    KEY_ID,
    PRIVATE,
    SECONDS,
    Entries,
    GateRig,
    signing_key,
)

RING = make_keyring(issuer=ISSUER)


class Peppers:
    """A PepperProof."""

    def __init__(self):
        self.known = True

    def refutes(self, _version):
        """Implement PepperProof.refutes."""
        return self.known


class Halves:
    """A SigningKeyStore with the private half of one key."""

    def __init__(self):
        self.private = {KEY_ID: PrivateKeys(RING.signing_seal_keys).seal(PRIVATE, signing_key())}
        self.reads = 0

    async def private_half(self, key_id):
        """Implement SigningKeyStore.private_half."""
        self.reads += 1
        return self.private.get(key_id)


class Rig:
    """An exchange over fakes, with one key that is a live one."""

    def __init__(self, **overrides):
        self.clock, self.store, self.peppers, self.halves = (
            FakeClock(),
            MemoryKeyStore(),
            Peppers(),
            Halves(),
        )
        entries = RING.signing_entries
        self.source = Entries({KEY_ID: entries.write(signing_key())})
        self.record, self.key = issue_record(
            RING, **{"scopes": frozenset({"a:*", "b:read"})} | overrides
        )
        self.store.records[self.record.kid] = self.record
        self.slept, self.spent, self.limit = [], [], None
        issuer = TokenIssuer(
            self.source,
            self.halves,
            entries,
            PrivateKeys(RING.signing_seal_keys).open,
            tags=RING.token_tags,
            rules=IssuingRules(ISSUER, (AUDIENCE, "other"), 300),
            clock=self.clock,
        )
        self.exchange = Exchange(
            self.store,
            RING,
            self.peppers,
            self.clock,
            issuer=issuer,
            spend=self._spend,
            sleep=self._sleep,
        )

    async def ask(self, key=None, *, origin="", **wish):
        """Return what the exchange of a key gives."""
        return await self.exchange.exchange(Ask(key or self.key, Wish(**wish), origin))

    def change(self, **fields):
        """Change the record in the store."""
        self.store.records[self.record.kid] = replace(self.record, **fields)

    def _spend(self, record, cost):
        self.spent.append((record.kid, cost))
        return self.limit

    async def _sleep(self, seconds):
        self.slept.append(round(seconds, 3))


async def test_a_key_gets_a_token_that_a_gate_accepts():
    """The token has the scopes of the key and the default audience and lifetime."""
    rig = Rig()
    found = await rig.ask()

    assert isinstance(found, Issued)
    assert found.expires_in == 300
    assert found.claims.audience == AUDIENCE
    accepted = GateRig(rig.clock, RecordingProbe()).accept(found.token)
    assert (accepted.kid, accepted.scopes) == (rig.record.kid, rig.record.scopes)
    assert accepted.id == found.claims.token_id
    assert rig.spent == [(rig.record.kid, 1)]
    assert rig.slept == []


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"scopes": frozenset({"a:read", "b:read"})}, None),
        ({"scopes": frozenset()}, None),
        ({"scopes": frozenset({"a:*"})}, None),
        ({"scopes": frozenset({"b:*"})}, ExchangeError.BAD_SCOPE),
        ({"scopes": frozenset({"*"})}, ExchangeError.BAD_SCOPE),
        ({"audience": "other"}, None),
        ({"audience": "third"}, ExchangeError.BAD_AUDIENCE),
    ],
)
async def test_a_token_has_what_was_asked_for_or_none_is_made(wish, error):
    """Scopes must be held by the key, and the audience must be one of the issuer."""
    found = await Rig().ask(**wish)

    assert (found.error if isinstance(found, Refused) else None) is error
    if error is None and "scopes" in wish:
        assert found.claims.scopes == wish["scopes"]


@pytest.mark.parametrize(
    ("asked", "life_ms", "expected"),
    [(60, None, 60), (999_999, None, MAX_LIFETIME), (None, 90_000, 90), (60, 1_000, 1)],
)
async def test_a_lifetime_is_shortened(asked, life_ms, expected):
    """A token lives for 15 minutes at most, and never longer than its key."""
    rig = Rig(expires_at=None if life_ms is None else NOW + life_ms)
    found = await rig.ask(lifetime=asked)

    assert found.expires_in == expected
    assert found.claims.issued_at == SECONDS


def wrong_subjects(rig):
    """Yield a key of each kind that gets no token, after it changed the store."""
    foreign = make_keyring("ak", "2").mint("live").text
    yield "not a key"
    yield "x" * 500
    yield rig.key[:-1] + ("0" if rig.key[-1] != "0" else "1")
    yield foreign
    yield RING.mint("live").text
    yield RING.mint("live", rig.record.kid).text
    for changed in (
        {"status": Status.REVOKED},
        {"status": Status.DISABLED},
        {"expires_at": NOW},
        {"not_before": NOW + 1},
        {"secrets": (replace(rig.record.newest_secret, retires_at=NOW),)},
        {"secrets": (replace(rig.record.newest_secret, retires_at=NOW - 40 * DAY),)},
        {"allowed_origins": ("https://app.example.com",)},
        {"expires_at": NOW + 900},
    ):
        rig.change(**changed)
        yield rig.key


async def test_every_wrong_subject_gets_the_same_refusal_at_the_same_time():
    """The refusal is one object, and comes 100 ms after the request, whatever was wrong."""
    rig = Rig()
    seen = 0
    for key in wrong_subjects(rig):
        assert await rig.ask(key) is BAD_SUBJECT, key
        seen += 1

    assert rig.slept == [0.1] * seen


async def test_text_that_we_did_not_make_costs_no_read():
    """A forged key is refused by its tag, before the store is asked."""
    rig = Rig()
    rig.store.down = True

    forged = rig.key[:-17] + "0" * 11
    forged += text.base62.encode(__import__("zlib").crc32(forged.encode()), 6)
    for key in ("nonsense", forged):
        assert await rig.ask(key) is BAD_SUBJECT


async def test_allowed_origins_must_be_proven():
    """A key with origins is exchanged only by a request with one of them."""
    rig = Rig(allowed_origins=("https://app.example.com",))

    assert await rig.ask() is BAD_SUBJECT
    assert await rig.ask(origin="https://evil.example.com") is BAD_SUBJECT
    assert isinstance(await rig.ask(origin="https://app.example.com"), Issued)


async def test_a_limit_of_the_key_refuses():
    """An exchange counts as a request, and nothing is made beyond the limit."""
    rig = Rig()
    limits = LimitPolicy().of(replace(rig.record, limits=parse_limits("", ["1/min"])), NOW)
    rig.limit = LimitResult(limits, (0,), (60_000,), (0,), 59_001)

    assert await rig.ask() == Refused(ExchangeError.OVER_LIMIT, 60)
    assert rig.halves.reads == 0


@pytest.mark.parametrize(
    "breaks",
    [
        lambda rig: setattr(rig.store, "down", True),
        lambda rig: setattr(rig.source, "signing", {}),
        lambda rig: setattr(rig.source, "signing", {KEY_ID: "1:damaged"}),
        lambda rig: rig.halves.private.clear(),
        lambda rig: rig.halves.private.update({KEY_ID: "1:AAAA"}),
        lambda rig: setattr(rig.peppers, "known", False),
    ],
)
async def test_without_a_store_or_a_signing_key_it_is_unavailable(breaks):
    """A fault of ours is neither a token nor a statement about the key."""
    rig = Rig()
    breaks(rig)
    key = rig.key
    if not rig.peppers.known:
        key = make_keyring("ak", "2").mint("live").text
    found = await rig.ask(key)

    assert found.error is ExchangeError.UNAVAILABLE
    assert rig.key not in found.why


async def test_the_private_half_is_read_once():
    """Later exchanges use the opened key, until another one signs."""
    rig = Rig()
    for _ in range(3):
        await rig.ask()

    assert rig.halves.reads == 1


async def test_a_key_with_too_many_scopes_has_to_ask_for_some():
    """A token that would not fit is not made; with fewer scopes it is."""
    rig = Rig(scopes=frozenset(f"a{at}:{'x' * 35}" for at in range(99)))

    assert (await rig.ask()).error is ExchangeError.BAD_SCOPE
    assert isinstance(await rig.ask(scopes=frozenset([min(rig.record.scopes)])), Issued)


async def test_a_flood_of_wrong_keys_does_not_pile_up():
    """Beyond 1,000 refusals that wait, others are answered at once."""
    rig = Rig()
    gate = asyncio.Event()

    async def sleep(_seconds):
        rig.slept.append(0)
        await gate.wait()

    rig.exchange._sleep = sleep
    tasks = [asyncio.create_task(rig.ask("nonsense")) for _ in range(1100)]
    await asyncio.sleep(0)

    assert sum(task.done() for task in tasks) == 100
    gate.set()
    assert set(await asyncio.gather(*tasks)) == {BAD_SUBJECT}


async def test_limits_that_cannot_be_counted():
    """If the limits of the key must be counted and cannot be, there is no token."""
    rig = Rig()

    def spend(_record, _cost):
        raise Unavailable("no link")

    rig.exchange._spend = spend
    assert (await rig.ask()).error is ExchangeError.UNAVAILABLE


PAGE = "https://app.example.com"


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://app.example.com",
        f"{PAGE}:443",
        f"{PAGE}:8443",
        f"{PAGE}.",
        f"{PAGE}/",
        "https://user@app.example.com",
        f"{PAGE},{PAGE}",
        f"{PAGE}, https://evil.example.com",
        "https://app.example.com.evil.example.com",
        " ",
    ],
)
async def test_a_publishable_key_needs_its_origin(origin):
    """Every other origin gets the answer of a wrong key, and nothing is taken from the limits."""
    rig = Rig(public=True, allowed_origins=(PAGE,))

    assert await rig.ask(origin=origin) is BAD_SUBJECT
    assert isinstance(await rig.ask(origin=PAGE), Issued)
    assert isinstance(await rig.ask(origin=PAGE.upper()), Issued)


async def test_a_publishable_key_that_lost_its_origins_is_not_exchanged():
    """A record without origins proves nothing."""
    assert await Rig(public=True).ask(origin=PAGE) is BAD_SUBJECT
