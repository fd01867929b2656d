"""The parsers of fields: accepted values, refused values, and no input that takes long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import fields
from authz.core.errors import BadInput
from authz.core.keys.text import ENVIRONMENTS
from tests.support.fakes import KID, make_keyring

CONTROLS = [chr(i) for i in [*range(32), 127, 0x85, 0xA0, 0x2028, 0x202E, 0xFEFF]]
LOOKALIKES = ["\u0661", "\uff11", "\u212a", "\u0430", "\u00e9", "\ud800"]
HUGE = 10_000_000


def one(parser):
    """A parser of many entries as a parser of one text."""
    return lambda field, text: parser(field, [text])


TEXT_PARSERS = {
    "identifier": (fields.identifier, "acme-web"),
    "kid": (fields.kid, KID),
    "environment": (fields.environment, "live"),
    "scopes": (one(fields.scopes), "models:generate"),
    "networks": (one(fields.networks), "10.0.0.0/8"),
    "hosts": (one(fields.hosts), "api.example.com"),
    "origins": (one(fields.origins), "https://app.example.com"),
    "duration_ms": (fields.duration_ms, "30s"),
}


@pytest.mark.parametrize("name", TEXT_PARSERS)
@pytest.mark.parametrize("odd", CONTROLS + LOOKALIKES)
def test_no_odd_character_anywhere(name, odd):
    """No field takes a control character, a blank or a letter of another alphabet."""
    parse, good = TEXT_PARSERS[name]
    middle = len(good) // 2

    parse("field", good)
    for text in (odd + good, good + odd, good[:middle] + odd + good[middle:], odd):
        with pytest.raises(BadInput, match=r"^field: "):
            parse("field", text)


@pytest.mark.parametrize("name", [*TEXT_PARSERS, "line", "metadata"])
@pytest.mark.parametrize(
    "unit",
    ["a", "a.", "a-", "a:", "1.", "0", ":", "*", "*.", "a" * 63 + ".", "https://", "ms", "\n"],
)
def test_ten_megabytes_are_refused_at_once(name, unit):
    """A huge text of any repeated character is refused in linear time and is not shown."""
    parsers = {kind: parse for kind, (parse, _) in TEXT_PARSERS.items()}
    parsers["line"] = fields.line
    parsers["metadata"] = lambda field, text: fields.metadata(field, {"note": text})

    with pytest.raises(BadInput) as refusal:
        parsers[name]("field", unit * (HUGE // len(unit)))

    assert len(str(refusal.value)) < 200


@given(st.text())
def test_what_is_shown_is_short_ascii_on_one_line(text):
    """A message shows what it refuses without passing on anything odd."""
    shown = fields.shown(text)

    assert len(shown) <= 42
    assert "..." in shown or shown == ascii(text)
    assert shown.isascii()
    assert shown.isprintable()


def test_what_fits_is_shown_whole():
    """Text up to 42 characters with its quotes is shown whole."""
    assert fields.shown("x" * 40) == repr("x" * 40)
    assert fields.shown("x" * 41) == f"'{'x' * 37}...'"


# ids


@pytest.mark.parametrize("text", ["a", "acme-web", "A.b_c:d@e-f", "0", "x" * 128, "@", ".."])
def test_identifiers(text):
    """An id is 1 to 128 characters that a header value needs not quote."""
    assert fields.identifier("client_id", text) == text


@pytest.mark.parametrize(
    "text", ["", "x" * 129, "a b", "a,b", 'a"b', "a%b", "a=b", "a\n", "a*b", "a;b"]
)
def test_refused_identifiers(text):
    """An id that is too long, or that a header would have to quote, is refused."""
    with pytest.raises(BadInput, match="acme-web") as refusal:
        fields.identifier("client_id", text)

    assert refusal.value.field == "client_id"


def test_kid():
    """A kid is 16 letters and digits."""
    assert fields.kid("kid", KID) == KID
    for text in ("", KID[:-1], KID + "c", KID + "\n", "_" * 16):
        with pytest.raises(BadInput, match="7Hk2mQ9xT4bVzR1c"):
            fields.kid("kid", text)


def test_a_key_given_for_a_kid_is_not_shown():
    """A whole key that is given for a kid does not appear in the message."""
    minted = make_keyring().mint("live")
    body = minted.text.rpartition("_")[2]

    with pytest.raises(BadInput) as refusal:
        fields.kid("kid", minted.text)

    assert body[1:5] not in str(refusal.value)


def test_environments():
    """An environment is `live` or `test`, in this spelling."""
    assert [fields.environment("env", env) for env in ENVIRONMENTS] == ["live", "test"]
    for text in ("", "Live", "prod", "live "):
        with pytest.raises(BadInput, match="live, test"):
            fields.environment("env", text)


# lines and metadata


@pytest.mark.parametrize("text", ["", "Acme's web shop", "Žluťoučký kůň", "日本", "x" * 256])
def test_lines(text):
    """A line is printable text in any language, or empty."""
    assert fields.line("name", text) == text


@pytest.mark.parametrize("text", ["x" * 257, "a\nb", "a\tb", "\x1b[31mred", "a\u202eb", "\ud800"])
def test_refused_lines(text):
    """Text that could forge a log line or control a terminal is refused."""
    with pytest.raises(BadInput, match="printable"):
        fields.line("name", text)


def test_metadata():
    """At most 32 short names, each with a line of text."""
    full = {f"key-{i}": "x" * 256 for i in range(32)}

    assert fields.metadata("metadata", {}) == {}
    assert fields.metadata("metadata", full) == full
    for bad in (
        full | {"one-more": ""},
        {"": "x"},
        {"a b": "x"},
        {"x" * 65: "x"},
        {"é": "x"},
        {"a": "x" * 257},
        {"a": "x\ny"},
    ):
        with pytest.raises(BadInput, match="metadata"):
            fields.metadata("metadata", bad)


# scopes


@pytest.mark.parametrize(
    "scope",
    ["a", "*", "models:generate", "models:*", "a:b:*", "read/write@x", "a.b-c_d+e", "1", "x" * 256],
)
def test_scopes(scope):
    """A scope is names joined by colons, with `:*` at its end or without, or `*`."""
    assert fields.scopes("scopes", [scope]) == {scope}


@pytest.mark.parametrize(
    "scope",
    [
        "",
        ":",
        "a:",
        ":a",
        "a::b",
        "**",
        "*:a",
        "a*",
        "a:*:b",
        "a:b*",
        "a b",
        "a,b",
        'a"b',
        "x" * 257,
    ],
)
def test_refused_scopes(scope):
    """A star stands alone or at the end; no part is empty."""
    with pytest.raises(BadInput, match="models:generate"):
        fields.scopes("scopes", ["ok", scope])


def test_scopes_are_bounded_together():
    """All scopes of a key fit one header; the same one twice counts once."""
    assert fields.scopes("scopes", ["a"] * 1000) == {"a"}
    assert len(fields.scopes("scopes", map(str, range(100)))) == 100
    full = [f"{i:02}{'x' * 253}" for i in range(16)]  # 255 and a blank each, 4096 in all
    assert len(fields.scopes("scopes", full)) == 16
    for bad in (map(str, range(101)), [*full[1:], full[0] + "x"]):
        with pytest.raises(BadInput, match="at most"):
            fields.scopes("scopes", bad)


# durations


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("0s", 0),
        ("50ms", 50),
        ("30s", 30_000),
        ("15m", 900_000),
        ("15min", 900_000),
        ("24h", 86_400_000),
        ("90d", 7_776_000_000),
        ("36500d", fields.MAX_DURATION_MS),
    ],
)
def test_durations(text, ms):
    """A duration is a whole number with a unit, or 0."""
    assert fields.duration_ms("grace", text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "1", "00", "-1s", "+1s", "1.5h", "1 s", "s", "1S", "1w", "1h30m", "1e3s", "9" * 13 + "s"],
)
def test_refused_durations(text):
    """A duration with a sign, a fraction or no unit is refused."""
    with pytest.raises(BadInput, match="not a duration"):
        fields.duration_ms("grace", text)


def test_a_duration_has_an_end():
    """A duration is at most 100 years, so that no sum of times overflows."""
    with pytest.raises(BadInput, match="100 years"):
        fields.duration_ms("grace", "36501d")
