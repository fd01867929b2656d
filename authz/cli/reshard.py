"""`authz init --reshard`: move a store with one partition to several."""

import asyncio
import sys
from dataclasses import asdict
from typing import Any, Final

import click

from authz.cli.actor import actor
from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, write_stderr
from authz.core.errors import BadInput, Conflict
from authz.wiring import resharding

QUESTION: Final = (
    "move the store to {} partitions? Read docs/cluster.md first. All processes keep running; "
    "changes are refused for some seconds near the end. An earlier version cannot use the store "
    "afterwards"
)


def reshard(invocation: Invocation, *, yes: bool, keep: bool, is_cancelled: bool) -> None:
    """Move the store, or cancel a move. yes: do not ask. keep: remove no old name.

    Raises ClickException, BadInput, Unavailable.
    """
    settings = load_settings(invocation)
    count = settings.redis.count
    try:
        if is_cancelled:
            was_there = asyncio.run(resharding.cancel(settings, write_stderr))
            text = "the move is cancelled; the store is as it was" if was_there else "there is none"
            invocation.answer({"cancelled": was_there}, text)
            return
        _ask(count, is_agreed=yes)
        done = asyncio.run(resharding.move(settings, actor(), write_stderr, keep=keep))
    except Conflict as cause:
        raise click.ClickException(str(cause)) from None
    if done is None:
        already = f"the store has {count} partitions already"
        invocation.answer({"partitions": count, "is_moved": False}, already)
        return
    document: dict[str, Any] = {"partitions": count, "is_moved": True, **asdict(done)}
    document["damaged"] = list(done.damaged)
    text = f"the store has {count} partitions"
    if not done.is_continued:
        text = (
            f"{done.keys} keys and {done.rows} audit entries moved to {count} partitions; changes "
            f"were refused for {done.frozen_seconds:.1f} s"
        )
    if done.damaged:
        text += f"\n{len(done.damaged)} records cannot be read, and were moved as they are"
    invocation.answer(document, text)


def _ask(count: int, *, is_agreed: bool) -> None:
    """Return only if the operator agrees. Raises BadInput where nobody can be asked."""
    can_ask = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if not is_agreed and not can_ask:
        raise BadInput("--yes", "is needed where nobody can confirm, as in a script")
    if not is_agreed and not click.confirm(QUESTION.format(count), err=True):
        raise click.ClickException("nothing was moved")
