"""Reports of leaked keys as values."""

import hashlib
import json
import tracemalloc
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.leaks import (
    MAX_ENTRIES,
    MAX_WHERE,
    OPEN,
    Done,
    Finding,
    ReportProgress,
    labels,
    parsed,
)
from tests.support.fakes import make_keyring

KEY = make_keyring().mint("live").text


def test_entries():
    """Members are read; missing ones and those of another type are empty."""
    first, second = parsed(
        json.dumps(
            [
                {"token": KEY, "type": "t", "url": "https://a/b", "source": "commit"},
                {"token": "x", "url": 1, "other": []},
            ]
        ).encode()
    )
    assert (first.token, first.kind, first.where, first.source) == (
        KEY,
        "t",
        "https://a/b",
        "commit",
    )
    assert (second.token, second.kind, second.where, second.source) == ("x", "", "", "")


def test_a_place_holds_no_key_and_no_control_character():
    """A URL that repeats the token, or holds another key, is masked."""
    other = make_keyring().mint("test").text
    url = f"https://a/{KEY}?{other}\n\x1b"
    (leak,) = parsed(json.dumps([{"token": KEY, "url": url}]).encode())
    assert KEY[30:] not in leak.where
    assert other[30:] not in leak.where
    assert leak.where.isprintable()
    assert KEY not in repr(leak)


@pytest.mark.parametrize(
    "escaped",
    [lambda text: quote(text, safe=""), lambda text: "".join(f"%{b:02x}" for b in text.encode())],
    ids=("special", "every"),
)
@pytest.mark.parametrize("token", ["sk-a+b/c==0123456789", KEY], ids=("imported", "own"))
def test_a_place_holds_no_escaped_key(token, escaped):
    """A query of a URL has the token in percent escapes; other escapes of a URL stay."""
    places = [f"https://a/?key={escaped(token)}&b=%20", "https://a/b%20c?d=%2F"]
    leaks = parsed(json.dumps([{"token": token, "url": url} for url in places]).encode())
    assert token[-20:] not in unquote(leaks[0].where)
    assert leaks[0].where.startswith("https://a/?key=")
    assert leaks[1].where == places[1]


@given(
    st.sampled_from(["sk-a+b/c==0123456789", "sk-a%2525b+0123456789", KEY]),
    st.integers(0, 12),
)
def test_a_place_holds_no_key_that_was_escaped_often(token, levels):
    """Each program that passes a URL on may escape it again."""
    place = token
    for _ in range(levels):
        place = quote(place, safe="")
    (leak,) = parsed(json.dumps([{"token": token, "url": f"https://a/?k={place}"}]).encode())
    where = leak.where
    for _ in range(levels + 1):
        assert token[-12:] not in where
        where = unquote(where)


def test_a_place_with_escapes_without_end():
    """A place that cannot be read to its end is not told. Others stay as they are."""
    places = ["https://a/%" + "25" * 100 + "41", "https://a/100%25?b=%252520", "https://a/%%zz%25"]
    leaks = parsed(json.dumps([{"token": KEY, "url": url} for url in places]).encode())
    assert [leak.where for leak in leaks] == ["...", *places[1:]]


@pytest.mark.parametrize("level", [0, 1, 4])
@pytest.mark.parametrize("token", [".", "...", "%", "2", "25", "a.b", KEY])
def test_a_short_token_makes_no_large_text(token, level):
    """Each round of the masking may make a short token longer: by 5 rounds 243 times as long."""
    place = token * 1000
    for _ in range(level):
        place = quote(f"{place}%", safe="")
    body = json.dumps([{"token": token, "url": place}]).encode()
    tracemalloc.start()
    try:
        (leak,) = parsed(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(body) + 100_000
    assert len(leak.where) <= MAX_WHERE


@pytest.mark.parametrize("escapes", [str, lambda text: quote(quote(text, safe=""), safe="")])
@pytest.mark.parametrize("before", [0, 400, 490, 499])
def test_a_place_shows_no_piece_of_a_key_that_was_cut(before, escapes):
    """Masked keys make a place shorter, so the end of what was read could be shown."""
    token = "sk-a+b/c==" + "0123456789" * 25
    piece = token[:12]
    for count in range(200):
        place = f"{'x' * before}{escapes(token) * count}"
        (leak,) = parsed(json.dumps([{"token": token, "url": place}]).encode())
        assert piece not in unquote(unquote(leak.where))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"[1]", b"[{}]", b'[{"token": 1}]', b'[{"token": ""}]', b"\xff"),
        json.dumps([{"token": "x" * 513}]).encode(),
        json.dumps([{"token": "x"}] * (MAX_ENTRIES + 1)).encode(),
        b"[" * 100_000,
    ],
)
def test_other_forms_are_refused(body):
    """A body that is no list of tokens is refused as a whole."""
    with pytest.raises(ValueError):  # noqa: PT011  of json, too
        parsed(body)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(body):
    """No body raises another error."""
    try:
        parsed(body)
    except ValueError:
        return


def test_labels():
    """The answer has the hash of each token, and no token."""
    (leak,) = parsed(json.dumps([{"token": KEY, "type": "authz_key"}]).encode())
    answer = labels([Finding(leak, is_key=True), Finding(leak, is_key=False)])
    right = hashlib.sha256(KEY.encode()).hexdigest()
    assert json.loads(answer) == [
        {"token_hash": right, "token_type": "authz_key", "label": "true_positive"},
        {"token_hash": right, "token_type": "authz_key", "label": "false_positive"},
    ]


def test_progress_of_a_report():
    """The states come back. Other text is no progress, and neither are states of other entries."""
    states = ["", OPEN, *Done]
    found = ReportProgress.parse(ReportProgress(entry_states=states).text())
    assert (found.is_over, found.of(len(states)), found.of(2)) == (False, states, ["", ""])
    for text in ("", "{}", "1", '["removed"]', "[1]", "[[]]", "null", "[" * 100_000, '"open"'):
        assert ReportProgress.parse(text) == ReportProgress(), text[:20]
