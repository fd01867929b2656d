"""`authz tokens keys`: the keys that sign tokens."""

from collections.abc import Sequence
from typing import Any

import click

from authz.cli import color
from authz.cli.actor import actor
from authz.cli.administration import with_tokens
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.times import rfc3339
from authz.flows.by import By
from authz.flows.tokens.key_rotation import SIGNS, UNREADABLE, KeyState

HEADINGS = ("KEY", "STATE", "SIGNS FROM", "VERIFIES UNTIL", "PEPPER")
MAX_ID = 64


@click.group(no_args_is_help=False)
@common
def keys() -> None:
    """List, rotate and remove the keys that sign tokens.

    \b
    Examples:
      authz tokens keys list
      authz tokens keys rotate
    """


@keys.command("list")
@common
@click.pass_obj
def list_keys(invocation: Invocation) -> None:
    """List the signing keys and their state.

    States: next (published, signs later), signs, verifies (its last tokens have not expired),
    expired (the next rotation removes it), unreadable (no pepper of the settings sealed it).

    \b
    Examples:
      authz tokens keys list
      authz tokens keys list --json | jq -r '.keys[] | select(.state == "signs").id'
    """
    found = with_tokens(invocation, lambda session: session.rotation.list())
    invocation.answer({"keys": [_document(one) for one in found]}, _table(found))


@keys.command()
@click.option("--now", "at_once", is_flag=True, help="Sign with it after 2 s, not after 15 min.")
@common
@click.pass_obj
def rotate(invocation: Invocation, at_once: bool) -> None:
    """Make a new signing key, and remove those that have expired.

    It is published at once and signs after 15 minutes, so that everybody who verifies tokens has it
    by then. The key before it verifies until its last token has expired. The first key signs after
    2 seconds.

    \b
    Examples:
      authz tokens keys rotate
      authz tokens keys rotate --now && authz tokens keys remove qTE6TnOM0ab1Cd2E
    """
    author = By(actor()).author()
    key = with_tokens(invocation, lambda one: one.rotation.rotate(author, at_once=at_once))
    starts = rfc3339(key.signs_from or 0)
    document = {"id": key.key_id, "signs_from": starts}
    invocation.answer(document, f"made {key.key_id}; it signs from {starts} on")


@keys.command()
@click.argument("key_id", metavar="KEY")
@common
@click.pass_obj
def remove(invocation: Invocation, key_id: str) -> None:
    """Remove a signing key, because somebody else may have it.

    Sidecars refuse its tokens within the trust lease. Others who verify them by the key
    set alone accept them until they expire. Make another key first with `rotate --now`.

    \b
    Examples:
      authz tokens keys remove qTE6TnOM0ab1Cd2E
    """
    if not (0 < len(key_id) <= MAX_ID and key_id.isascii() and key_id.isprintable()):
        raise BadInput("KEY", f"{shown(key_id)} is not the id of a signing key")
    author = By(actor()).author()
    with_tokens(invocation, lambda session: session.rotation.remove(key_id, author))
    invocation.answer({"id": key_id, "removed": True}, f"removed {key_id}")


def _document(one: KeyState) -> dict[str, Any]:
    return {
        "id": one.key_id,
        "state": one.state,
        "created_at": _time(one.created_at),
        "signs_from": _time(one.signs_from),
        "verifies_until": _time(one.until),
        "pepper": one.pepper or None,
    }


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)


def _table(found: Sequence[KeyState]) -> str:
    if not found:
        return "there is no signing key; `authz tokens keys rotate` makes one"
    rows = [
        (
            one.key_id,
            one.state,
            _time(one.signs_from) or "-",
            _time(one.until) or "-",
            one.pepper or "-",
        )
        for one in found
    ]
    return columns([HEADINGS, *rows], {1: _state})


def _state(cell: str) -> str:
    if cell == SIGNS:
        return color.painted(cell, color.GREEN)
    return color.painted(cell, color.RED) if cell == UNREADABLE else cell
