"""The author of a change in the audit trail."""

import os
import pwd
import socket

import pytest

from authz.cli.actor import actor


def test_the_environment_names_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    """$AUTHZ_ACTOR is the author."""
    monkeypatch.setenv("AUTHZ_ACTOR", "deploy bot <ops@example.com>")
    assert actor() == "deploy bot <ops@example.com>"


@pytest.mark.parametrize("nothing", ["", " ", "\n\t", "\x1b"])
def test_without_a_name_it_is_the_user_and_the_machine(
    monkeypatch: pytest.MonkeyPatch, nothing: str
) -> None:
    """Without $AUTHZ_ACTOR, or with an empty one, the author is user@host."""
    monkeypatch.setenv("AUTHZ_ACTOR", nothing)
    assert actor() == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uid without a name is shown as a number."""
    monkeypatch.delenv("AUTHZ_ACTOR", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert actor() == f"uid-54321@{socket.gethostname()}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("two\nlines", "two lines"),
        ("  a  \x1b[31m b ", "a [31m b"),
        ("x" * 1000, "x" * 256),
        ("\udcff\udcfeops", "ops"),
        ("Zoë", "Zoë"),
    ],
)
def test_the_actor_is_one_printable_line(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    """The author is one printable line for any environment."""
    monkeypatch.setenv("AUTHZ_ACTOR", given)
    assert actor() == expected
