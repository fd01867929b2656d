"""Answers of a server that nobody should trust: names and texts are checked before use."""

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.remote.records import entry_of, kid_of, new_text_of, record_of
from authz.rpc.pb.admin.v1 import audit_entry_pb2, key_pb2

KID = "7Hk2mQ9xT4bVzR1c"


@pytest.mark.parametrize(
    "name",
    ["", "keys/", "keys/../../etc/passwd", "keys/..", f"keys/{KID}x", "keys/7Hk2mQ9xT4bVzR1\n"],
)
def test_names(name: str) -> None:
    """A name that is no name of a key is refused, because kids become names of files."""
    with pytest.raises(Unavailable):
        kid_of(name)


def test_good_names() -> None:
    """The kid of a key and of its parts is found."""
    assert kid_of(f"keys/{KID}") == kid_of(f"keys/{KID}/limits") == KID


@pytest.mark.parametrize("text", ["", "short", "ak_live_\x1b[2J" + "x" * 60, "x" * 500, "a b" * 20])
def test_texts_of_keys(text: str) -> None:
    """A text with control characters, or of another length, is not printed as a key."""
    with pytest.raises(Unavailable) as caught:
        new_text_of(text)
    assert text not in str(caught.value) or not text


def test_a_key_of_a_newer_version() -> None:
    """A key with a status or a limit that is not known here is told as unreadable."""
    for key in (
        key_pb2.Key(name=f"keys/{KID}", status=9),  # type: ignore[arg-type]
        key_pb2.Key(name=f"keys/{KID}", limits=[key_pb2.Limit(spec="5/fortnight")]),
    ):
        with pytest.raises(Unreadable, match="newer version"):
            record_of(key)


def test_an_unknown_action() -> None:
    """An entry of a newer version is told as unreadable, and is not taken for another action."""
    with pytest.raises(Unreadable):
        entry_of(audit_entry_pb2.AuditEntry(version=7))
