"""Reading log entries: strictly, whatever a client put into them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.usage.callers import agent_family, network
from authz.core.usage.entry import Cause, EntryReader
from authz.core.usage.line import GATE_FIELDS, LINE
from tests.support.usage import KID, NOW, PROCESS, line


def read(text: bytes):
    """Read one entry."""
    return EntryReader().read(text)


def test_an_entry():
    """Every field of a line is read."""
    entry = read(line(charge_id=f"{PROCESS}00000000ffff", charged="3", milliseconds="40"))
    assert (entry.process, entry.count) == (PROCESS, 65535)
    who = entry.identity
    assert (who.kid, who.secret, who.reason, who.route) == (KID, "s1", "ok", "models")
    assert (who.about, who.charged) == ("acme-web search acme pro live", 3)
    assert entry.ended_at == NOW - 12 + 40
    assert (entry.bytes_in, entry.bytes_out, entry.address) == (300, 4000, b"203.0.113.7")
    assert entry.is_end


def test_an_entry_of_version_2():
    """The older line names no owners; an allowed request of a key costs one unit."""
    entry = read(line(version="2"))
    assert (entry.identity.kid, entry.identity.secret, entry.identity.charged) == (KID, "", 1)
    assert read(line(version="2", kid="-", reason="missing_credential")).identity.charged == 0


def test_a_request_without_a_key():
    """A refusal that proves no key has no key id."""
    entry = read(
        line(kid="-", secret="-", reason="forged", route="-", owners="- - - - -", charged="-")
    )
    assert (entry.identity.kid, entry.identity.reason) == ("", "forged")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"", Cause.VERSION),
        (b"hello", Cause.VERSION),
        (line().replace(b"3 ", b"5 ", 1), Cause.VERSION),
        (line(charge_id="-"), Cause.CHARGE_ID),
        (line(charge_id="0" * 27), Cause.CHARGE_ID),
        (line(charge_id="0" * 29), Cause.CHARGE_ID),
        (line(charge_id="G" * 28), Cause.CHARGE_ID),
        (line(charge_id="0" * 16 + "0x0000000001"), Cause.CHARGE_ID),
        (line(kid="short"), Cause.IDENTITY),
        (line(kid="k" * 15 + "'"), Cause.IDENTITY),
        (line(reason="because"), Cause.IDENTITY),
        (line(reason="-"), Cause.IDENTITY),
        (line(owners="a b c d live extra"), Cause.IDENTITY),
        (line(owners="a b c live"), Cause.IDENTITY),
        (line(owners="a\x1b b c d live"), Cause.IDENTITY),
        (line(owners="a b c d prod"), Cause.IDENTITY),
        (line(route="a\tb"), Cause.IDENTITY),
        (line(route="r" * 129), Cause.IDENTITY),
        (line(secret="s" * 65), Cause.IDENTITY),
        (line(charged="-1"), Cause.IDENTITY),
        (line(kind="TcpConnectionEnd"), Cause.TYPE),
        (line(kind="UpstreamEnd"), Cause.TYPE),
        (line(code="2e2"), Cause.FIELDS),
        (line(flags="DC;x"), Cause.FIELDS),
        (line(milliseconds="1.5"), Cause.FIELDS),
        (line(received="-5"), Cause.FIELDS),
        (line(sent=str(2**53)), Cause.FIELDS),
        (line(started="now"), Cause.FIELDS),
        (line().partition(b" via_")[0], Cause.FIELDS),
    ],
)
def test_a_line_that_is_not_in_order(text, cause):
    """A line with a fault is refused with its cause."""
    assert read(text) is cause


def test_fields_of_version_3_under_version_2():
    """A line with the fields of another version is refused."""
    reader = EntryReader()
    assert reader.read(line()).identity.kid == KID
    assert reader.read(line().replace(b"3 ", b"2 ", 1)) is Cause.IDENTITY


@pytest.mark.parametrize(
    "agent", ["", "a b  c", '"q" \t', "DownstreamEnd 500 - - 9 9 9", "\x1b[0m"]
)
def test_a_user_agent_shifts_nothing(agent):
    """A client may write anything there; the fields that count stay."""
    entry = read(line(agent=agent))
    assert (entry.identity.kid, entry.status.code, entry.bytes_out) == (KID, "200", 4000)


def test_a_route_name_with_blanks():
    """Envoy's route name is not counted; its blanks reach the user agent only."""
    entry = read(line(route_name="my route"))
    assert (entry.identity.route, entry.bytes_in) == ("models", 300)


@given(st.binary(max_size=300))
def test_any_bytes(text):
    """No text raises."""
    read(text)


@given(st.data())
def test_any_damage(data):
    """A line with one byte changed is refused, or read; no exception."""
    good = bytearray(line())
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(good))


def test_the_line_has_the_fields_of_the_gate():
    """The text for Envoy takes every field of the gate from its metadata, once."""
    found = re.findall(r"%DYNAMIC_METADATA\(envoy\.filters\.http\.ext_authz:([a-z_]+)\)%", LINE)
    assert tuple(found) == GATE_FIELDS
    assert len(LINE.split(" ")) == 1 + len(GATE_FIELDS) + 15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"203.0.113.77", "203.0.113.0/24"),
        (b"2001:db8:1:2:3::4", "2001:db8:1::/48"),
        (b"::ffff:203.0.113.77", "203.0.113.0/24"),
        (b"-", ""),
        (b"/run/envoy.sock", ""),
        (b"\xff", ""),
    ],
)
def test_networks(text, expected):
    """An address is kept as its network only."""
    assert network(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"curl/8.5.0", "curl"),
        (b"python-requests/2.32 x", "python-requests"),
        (b"grpc-go", "grpc-go"),
        (b"Mozilla/5.0 (X11) AppleWebKit/537 Chrome/140.0 Safari/537", "Chrome"),
        (b"Mozilla/5.0 (X11) Gecko Firefox/150", "Firefox"),
        (b"Mozilla/5.0 (compatible)", "Mozilla"),
        (b"-", "none"),
        (b"", "none"),
        (b"<script>", "other"),
        (b"a" * 80, "other"),
        (b"\x1b[31m", "other"),
    ],
)
def test_agents(text, expected):
    """A user agent is kept as its family only, in harmless characters."""
    assert agent_family(text) == expected
