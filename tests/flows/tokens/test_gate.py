"""TokenGate: which tokens are accepted, and what the others cost."""

import pytest

from authz.core.decision import Deny, Reason
from authz.core.events import Event
from authz.core.store_clock import StoreClock
from authz.core.tokens.signing_keys import KEPT_MS
from authz.core.tokens.text import LEEWAY, MAX_LIFETIME, issuer_mark
from authz.identity.es256 import PrivateKey
from tests.support.fakes import KID, NOW, FakeClock, RecordingProbe, make_keyring
from tests.support.tokens import ISSUER, SECONDS, GateRig, claims, issue, signing_key

OTHER_PRIVATE = PrivateKey.of(b"\x09" * 32)


@pytest.fixture
def clock():
    """Return a clock at NOW."""
    return FakeClock()


@pytest.fixture
def rig(clock):
    """Return a gate with one signing key."""
    return GateRig(clock, RecordingProbe())


def reason(found):
    """Return the reason of a refusal; None for an accepted token."""
    return found.reason if isinstance(found, Deny) else None


def test_a_good_token_is_accepted_with_its_claims(rig):
    """The accepted token has the parent's kid, its secret, the scopes and the end of the claims."""
    found = rig.accept(rig.issue())

    assert (found.kid, found.secret_id, found.scopes) == (KID, "1", {"a:read"})
    assert found.expires_at == (SECONDS + 300) * 1000
    assert len(found.id) == 27


def test_a_token_costs_one_signature_until_it_expires(rig, clock):
    """Only the first sight of a token verifies its signature; later its end is still exact."""
    token = rig.issue()
    first = rig.accept(token)
    clock.jump_wall(300_000 - 1)

    assert rig.accept(token) is first
    assert rig.signatures == 1
    clock.jump_wall(1)
    assert reason(rig.accept(token)) is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"audience": "other"}, Reason.WRONG_AUDIENCE),
        ({"issuer": "https://other.example.com"}, Reason.FORGED),
        ({"expires_at": SECONDS}, Reason.TOKEN_EXPIRED),
        ({"expires_at": SECONDS + MAX_LIFETIME + 1}, Reason.FORGED),
        ({"expires_at": SECONDS + MAX_LIFETIME}, None),
        ({"not_before": SECONDS + LEEWAY}, None),
        ({"not_before": SECONDS + LEEWAY + 1}, Reason.NOT_YET_VALID),
        ({"issued_at": SECONDS + 1}, Reason.FORGED),
    ],
)
def test_claims_are_judged_before_the_signature(rig, overrides, expected):
    """A token with wrong claims is refused and costs no signature."""
    assert reason(rig.accept(rig.issue(**overrides))) is expected
    assert rig.signatures == (expected is None)


def test_a_flood_of_forged_tokens_costs_no_signature(rig):
    """A text with a good header and good claims, but without our tag, is refused by the tag."""
    foreign = make_keyring("ak", "2", issuer=ISSUER)
    head, body, signature = rig.issue().split(".")
    forged = [
        issue(foreign, claims(token_id="2" + "r" * 15)),  # a pepper that we lack
        f"{head}.{body[:-8]}AAAAAAAA.{signature}",
        f"{head}.{rig.issue(kid='A' * 16).split('.')[1][:-20]}{body[-20:]}.{signature}",
    ]

    for token in forged:
        assert reason(rig.accept(token)) in {Reason.FORGED, Reason.MALFORMED, Reason.UNAVAILABLE}
    assert rig.signatures == 0


def test_a_signature_of_another_key_is_refused(rig):
    """The right tag alone does not make a token."""
    token = issue(rig.ring, claims(), OTHER_PRIVATE)

    assert reason(rig.accept(token)) is Reason.FORGED
    assert rig.signatures == 1


def test_new_tokens_are_limited_and_accepted_ones_go_on(clock):
    """Beyond the rate of signatures a new token is unavailable; an accepted one costs none."""
    probe = RecordingProbe()
    rig = GateRig(clock, probe, rate=2)
    tokens = [rig.issue(token_id=f"1{at:015}") for at in range(3)]
    accepted = [rig.accept(token) for token in tokens[:2]]

    assert reason(rig.accept(tokens[2])) is Reason.UNAVAILABLE
    assert [rig.accept(token) for token in tokens[:2]] == accepted
    assert probe.events == {Event.TOKEN_SIGNATURE: 2, Event.TOKEN_LIMITED: 1}
    clock.advance(1)
    assert reason(rig.accept(tokens[2])) is None


def test_one_address_cannot_use_up_all_signatures(clock):
    """An address that sends many new tokens leaves a share of the signatures to others."""
    rig = GateRig(clock, RecordingProbe(), rate=8)
    made = iter(rig.issue(token_id=f"1{at:015}") for at in range(40))
    for _ in range(2):  # in the second second the share of each address is known
        for _ in range(16):
            rig.accept(next(made), "198.51.100.1")
        clock.advance(1)
    for _ in range(7):
        rig.accept(next(made), "198.51.100.1")

    assert reason(rig.accept(next(made), "203.0.113.7")) is None


def test_a_removed_signing_key_ends_its_tokens(rig):
    """An accepted token is refused as soon as its key is not among the entries."""
    token = rig.issue()
    assert reason(rig.accept(token)) is None
    rig.publish()

    assert reason(rig.accept(token)) is Reason.FORGED


def test_a_signing_key_that_took_the_id_of_a_removed_one_accepts_none_of_its_tokens(rig):
    """A repeated request to rotate makes another key with the same id."""
    token = rig.issue()
    assert reason(rig.accept(token)) is None
    rig.publish()
    rig.publish(signing_key(private=OTHER_PRIVATE))

    assert reason(rig.accept(token)) is Reason.FORGED
    assert reason(rig.accept(issue(rig.ring, claims(), OTHER_PRIVATE))) is None


def test_an_unknown_signing_key_is_unavailable_without_trust(rig):
    """While the link is not trusted the store may have a newer key, so the answer is no 401."""
    token = rig.issue()
    rig.publish()
    rig.source.is_current = False

    assert reason(rig.accept(token)) is Reason.UNAVAILABLE


def test_a_rotated_signing_key_verifies_until_its_last_token_has_expired(rig, clock):
    """The predecessor counts for the longest lifetime and the leeway after the new key began."""
    newer = signing_key(f"{issuer_mark(ISSUER)}zzzzzzzz", OTHER_PRIVATE)
    rig.publish(signing_key(), newer)
    clock.jump_wall(KEPT_MS - 1)
    late = {"issued_at": SECONDS + 600, "not_before": SECONDS + 600, "expires_at": SECONDS + 1400}
    assert reason(rig.accept(rig.issue(**late))) is None
    clock.jump_wall(1)

    assert reason(rig.accept(rig.issue(**late))) is Reason.FORGED
    assert reason(rig.accept(issue(rig.ring, claims(**late), OTHER_PRIVATE, newer.key_id))) is None


def test_an_entry_without_our_mac_is_no_signing_key(rig):
    """A writer of the store who has no pepper cannot add a key."""
    foreign = make_keyring("ak", "2", issuer=ISSUER).signing_entries
    theirs = signing_key(private=OTHER_PRIVATE)
    rig.publish(theirs)
    entry = rig.source.signing[theirs.key_id]
    bad = [entry[:-1] + ("A" if entry[-1] != "A" else "B"), foreign.write(signing_key(pepper="2"))]
    bad += [entry.replace(f":{NOW}:", f":{NOW - 1}:", 1), "", "1:::::", "\udcff" * 40]

    for one in bad:
        rig.source.signing = {theirs.key_id: one}
        token = issue(rig.ring, claims(), OTHER_PRIVATE)
        assert reason(rig.accept(token)) is Reason.FORGED
    rig.source.signing = {theirs.key_id[:-1] + "x": entry}  # the entry of another key
    assert reason(rig.accept(issue(rig.ring, claims(), OTHER_PRIVATE))) is Reason.FORGED


def test_no_more_tokens_than_the_bound_are_remembered(rig):
    """The oldest accepted token makes room; it then costs a signature again."""
    tokens = [rig.issue(token_id=f"1{at:015}") for at in range(101)]
    for token in tokens:
        rig.accept(token)
    rig.accept(tokens[100])
    assert rig.signatures == 101
    rig.accept(tokens[0])

    assert rig.signatures == 102


def test_a_token_of_another_issuer_is_not_ours(rig):
    """The first characters of a token name its issuer, so others are told apart without parsing."""
    other = make_keyring(issuer="https://other.example.com")

    assert other.parse_token(rig.issue()) is None
    assert make_keyring().parse_token(rig.issue()) is None


DAY = 86_400_000


@pytest.mark.parametrize("is_known", [True, False], ids=["accepted before", "new"])
@pytest.mark.parametrize(
    ("ours", "stores", "expected"),
    [
        (0, 0, None),
        (-DAY, 0, Reason.UNAVAILABLE),
        (DAY, 0, Reason.UNAVAILABLE),
        (0, -DAY, Reason.UNAVAILABLE),
        (0, DAY, Reason.UNAVAILABLE),
        (DAY, DAY, Reason.TOKEN_EXPIRED),
    ],
)
def test_two_clocks(ours, stores, expected, is_known):
    """If our clock and the store's disagree about a good token, it is UNAVAILABLE.

    The begin of a token is looked at once, so for one that was accepted before, a clock that is
    behind differs in nothing.
    """
    clock, store_clock = FakeClock(), StoreClock(1.0)
    rig = GateRig(clock, RecordingProbe(), store_clock=store_clock)
    token = rig.issue()
    store_clock.measured(NOW, clock.monotonic(), clock.monotonic())
    if is_known:
        assert reason(rig.accept(token)) is None
    clock.jump_wall(ours)
    store_clock.measured(NOW + stores, clock.monotonic(), clock.monotonic())
    is_same = is_known and min(ours, stores) < 0
    assert reason(rig.accept(token)) is (None if is_same else expected)


@pytest.mark.parametrize(
    ("ours", "passed", "expected"),
    [(0, 299, None), (0, 301, Reason.TOKEN_EXPIRED), (-301_000, 301, Reason.UNAVAILABLE)],
)
def test_a_stale_token_is_looked_at_again(ours, passed, expected):
    """Long after the last heartbeat a clock that jumped back makes no expired token good."""
    clock, store_clock = FakeClock(), StoreClock(1.0)
    rig = GateRig(clock, RecordingProbe(), store_clock=store_clock)
    store_clock.measured(NOW, clock.monotonic(), clock.monotonic())
    found = rig.accept(rig.issue())
    clock.advance(passed)
    clock.jump_wall(ours)
    assert reason(rig.gate.refuse(found)) is expected
