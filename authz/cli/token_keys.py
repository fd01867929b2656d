"""`authz tokens keys`: the keys that sign tokens."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from authz.cli import color
from authz.cli.administration import load_settings
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.cli.session_loop import within
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.times import rfc3339
from authz.flows.tokens.key_rotation import SIGNS, UNREADABLE, KeyState
from authz.wiring.tokens import TokenSession, token_session

HEADINGS = ("KEY", "STATE", "SIGNS FROM", "VERIFIES UNTIL", "PEPPER")
MAX_ID = 64

_T = TypeVar("_T")


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
    key = with_tokens(invocation, lambda session: session.rotation.rotate(at_once=at_once))
    starts = rfc3339(key.signs_from)
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
    with_tokens(invocation, lambda session: session.rotation.remove(key_id))
    invocation.answer({"id": key_id, "removed": True}, f"removed {key_id}")


def with_tokens(invocation: Invocation, work: Callable[[TokenSession], Awaitable[_T]]) -> _T:
    """Run `work` with a TokenSession on a new event loop, and return its result.

    Raises BadInput for invalid settings or without tokens.issuer, Unavailable if the store is
    unreachable or not ours, and the errors of `work`.
    """
    return within(token_session(load_settings(invocation)), work)


def _document(one: KeyState) -> dict[str, Any]:
    key = one.key
    return {
        "id": one.key_id,
        "state": one.state,
        "created_at": rfc3339(key.created_at) if key else None,
        "signs_from": rfc3339(key.signs_from) if key else None,
        "verifies_until": rfc3339(one.until) if one.until is not None else None,
        "pepper": key.pepper if key else None,
    }


def _table(found: list[KeyState]) -> str:
    if not found:
        return "there is no signing key; `authz tokens keys rotate` makes one"
    rows = [
        (
            one.key_id,
            one.state,
            rfc3339(one.key.signs_from) if one.key else "-",
            rfc3339(one.until) if one.until is not None else "-",
            one.key.pepper if one.key else "-",
        )
        for one in found
    ]
    return columns([HEADINGS, *rows], {1: _state})


def _state(cell: str) -> str:
    if cell == SIGNS:
        return color.painted(cell, color.GREEN)
    return color.painted(cell, color.RED) if cell == UNREADABLE else cell
