"""Text of clients in log lines: escaped, bounded, without keys."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.telemetry import client_text

FOREIGN = "sk-proj-T3BlbkFJ0123456789abcdefGHIJ"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/models?api_key=secret", "/v1/models"),
        (
            "/v1/models/gemini-pro:streamGenerateContent",
            "/v1/models/gemini-pro:streamGenerateContent",
        ),
        (f"/v1/{FOREIGN}/x", "/v1/sk-p.../x"),
        (f"/v1/%73{FOREIGN[1:]}", "/v1/%73k..."),
        ("/a b\r\n\x1b[0m", "/a\\x20b\\r\\n\\x1b[0m"),
        ("/é", "/\\xe9"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_a_path_is_shown_without_query_keys_and_control_characters(path, shown):
    """A blank is escaped, too: in a line of text it would begin another field."""
    assert client_text.path(path) == shown


@given(st.text(max_size=700))
def test_any_path_becomes_bounded_printable_text(path):
    """A log line has one line, and no part of a query."""
    shown = client_text.path(path)
    assert len(shown) <= 256
    assert re.fullmatch(r"[!-~]*", shown)


@pytest.mark.parametrize("before", range(0, 520, 7))
def test_a_key_is_not_shown_wherever_the_cut_is(before):
    """The cuts before and after the masking show at most four characters of a key."""
    shown = client_text.path("/" * before + FOREIGN * 7)
    assert FOREIGN[:5] not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("", ""),
        ("fe80::1%any text\n", "invalid"),
        ("203.0.113.7, 10.0.0.1", "invalid"),
        ("9" * 60_000, "invalid"),
    ],
)
def test_an_address_is_an_address(text, shown):
    """Where a header gives the address, a client may write any text into it."""
    assert client_text.address(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("POST", "POST"), ("get", "invalid"), ("A" * 33, "invalid"), ("", "invalid")],
)
def test_a_method_is_a_method(text, shown):
    """Upper case, and not longer than any method is."""
    assert client_text.method(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("3b0a7c9e-7b51-4f3a-9c1e-9d6f0a1b2c3d", "3b0a7c9e-7b51-4f3a-9c1e-9d6f0a1b2c3d"),
        ("c18582916d70b2eb000000000002", "c18582916d70b2eb000000000002"),
        ("req-12345", "req-12345"),
        (FOREIGN, "sk-p..."),
    ],
)
def test_a_request_id_is_shown_unless_it_may_be_a_key(text, shown):
    """A client may have put a key into x-request-id, where the proxy keeps that of the client."""
    assert client_text.request_id(text) == shown
