"""Sessions of the console as values: their times, their tokens and their texts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.console_session import ConsoleSession, read_session
from authz.core.failure_budget import FailureBudgets
from authz.core.login_attempt import LoginAttempt, read_attempt
from authz.core.login_link import LoginLink, link_url, read_link
from authz.core.sealed_text import SealedTexts

SESSION = ConsoleSession("id-1", 1_000, 1_000, 9_000, "ada", kid="7Hk2mQ9xT4bVzR1c", secret_id="1")
KEYS = [bytes(32), bytes(range(32))]


def test_a_session_ends_without_requests_and_at_its_end():
    """A session is over once it is idle for too long, and at its end whatever was done."""
    assert not SESSION.is_over(2_999, idle=2_000)
    assert SESSION.is_over(3_000, idle=2_000)
    used = replace(SESSION, seen_at=8_999)
    assert not used.is_over(8_999, idle=2_000)
    assert used.is_over(9_000, idle=2_000)


def test_a_cookie_is_renewed_after_a_minute():
    """A session that was renewed less than 60 s ago needs no new cookie."""
    assert not SESSION.needs_renewal(60_999)
    assert SESSION.needs_renewal(61_000)


def test_a_form_token_belongs_to_one_session():
    """Another session has another token, and the token does not contain the id."""
    other = replace(SESSION, id="id-2")
    assert SESSION.accepts_form(SESSION.form_token)
    assert not SESSION.accepts_form(other.form_token)
    assert not SESSION.accepts_form("")
    assert SESSION.id not in SESSION.form_token


def test_all_sessions_of_an_actor_have_one_name():
    """Two sessions of a key share the name of their actor only; a subject has another."""
    second = replace(SESSION, id="id-2")
    subject = replace(SESSION, kid="", secret_id="", subject=SESSION.kid)
    assert SESSION.end_names[1] == second.end_names[1]
    assert SESSION.end_names[0] != second.end_names[0]
    assert SESSION.end_names[1] != subject.end_names[1]


@given(st.text(max_size=50), st.lists(st.text(max_size=10), max_size=5))
def test_texts_bring_the_values_back(label, roles):
    """A session, a link and an attempt are the same after they were written and read."""
    session = replace(SESSION, label=label, roles=tuple(roles))
    assert read_session(session.text()) == session
    link = LoginLink("id", "kid", "1", 5)
    assert read_link(link.text()) == link
    attempt = LoginAttempt.new("https://x.example.com/login/callback", "/keys", 1_000)
    assert read_attempt(attempt.text()) == attempt


@pytest.mark.parametrize("text", ["", "[]", "1", "{}", '{"id":"x"}', '{"roles":1}', '{"x":1}'])
def test_texts_of_other_versions(text):
    """A text with other members is no session, no link and no attempt."""
    assert read_session(text) is None
    assert read_link(text) is None
    assert read_attempt(text) is None


def test_the_challenge_of_a_verifier():
    """The challenge is that of RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    attempt = LoginAttempt("s", "n", verifier, "https://x.example.com/", "/", 1)
    assert attempt.challenge == ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")


def test_a_link_has_its_token_in_the_fragment():
    """No server, log or Referer gets the fragment of an address."""
    assert link_url("http://127.0.0.1:9194", "abc") == "http://127.0.0.1:9194/login/link#abc"


@given(st.text(max_size=100), st.integers(0, 10_000), st.integers(1, 255))
def test_a_sealed_text_opens_for_its_use_only(text, place, flip):
    """A changed byte, another use, another key and a longer text than allowed open nothing."""
    seals = SealedTexts(KEYS)
    sealed = seals.seal(text, "session")
    assert seals.open(sealed, "session", most=1000) == text
    assert seals.open(sealed, "login link", most=1000) is None
    assert seals.open(sealed, "session", most=len(sealed) - 1) is None
    assert SealedTexts(KEYS[:1]).open(sealed, "session", most=1000) is None
    assert SealedTexts([KEYS[1], KEYS[0]]).open(sealed, "session", most=1000) == text
    at = place % len(sealed)
    changed = sealed[:at] + chr(ord(sealed[at]) ^ (flip % 127 or 1)) + sealed[at + 1 :]
    if changed != sealed:
        assert seals.open(changed, "session", most=1000) is None


@given(st.binary(min_size=40, max_size=90), st.integers(0, 200))
def test_a_sealed_text_has_one_spelling(text, at):
    """Bytes that a lenient decoder takes for the same, such as `+` for `-`, open nothing."""
    seals = SealedTexts(KEYS)
    sealed = seals.seal(text.hex(), "session")
    at %= len(sealed)
    spellings = {sealed.replace("-", "+"), sealed.replace("_", "/"), f"{sealed}="}
    spellings |= {f"{sealed[:at]}{sign}{sealed[at:]}" for sign in "\n !="}
    for other in spellings - {sealed}:
        assert seals.open(other, "session", most=1000) is None


def test_failures_are_counted_by_client():
    """After ten failures a client waits for 6 s each; a client of another network does not."""
    budgets = FailureBudgets(10, 6.0)
    for _ in range(9):
        budgets.fail("192.0.2.7", 100.0)
    assert budgets.wait("192.0.2.7", 100.0) == 0
    budgets.fail("::ffff:192.0.2.7", 100.0)
    assert budgets.wait("192.0.2.7", 100.0) == pytest.approx(6.0)
    assert budgets.wait("192.0.2.7", 106.0) == 0
    assert budgets.wait("192.0.2.8", 100.0) == 0
    for _ in range(20):
        budgets.fail("2001:db8::1", 100.0)
    assert budgets.wait("2001:db8::ffff", 100.0) > 0
    assert budgets.wait("2001:db8:0:1::1", 100.0) == 0
