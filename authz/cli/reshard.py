"""`authz init --reshard`: move a store with one partition to several."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any, Final, TypeVar

import click

from authz.cli.actor import actor
from authz.cli.administration import load_settings
from authz.cli.consent import require_consent
from authz.cli.invocation import Invocation, write_stderr
from authz.core.errors import Conflict
from authz.wiring import resharding

QUESTION: Final = (
    "move the store to {} partitions? Read docs/cluster.md first. All processes keep running; "
    "changes that give rights are refused for some seconds near the end. An earlier version cannot "
    "use the store afterwards"
)

_T = TypeVar("_T")


def reshard(invocation: Invocation, *, yes: bool, keep: bool, is_cancelled: bool) -> None:
    """Move the store, or cancel a move. yes: do not ask. keep: remove no old name.

    Raises ClickException, BadInput, Unavailable.
    """
    settings = load_settings(invocation)
    count = settings.redis.count
    try:
        if is_cancelled:
            was_there = _run(resharding.cancel(settings, write_stderr))
            text = "there is no move to cancel"
            if was_there:
                text = "the move is cancelled; the store is as it was"
            invocation.answer({"cancelled": was_there}, text)
            return
        if not yes:
            require_consent(QUESTION.format(count), "nothing was moved")
        done = _run(resharding.move(settings, actor(), write_stderr, keep=keep))
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


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of `work`. SIGTERM, Ctrl-C and the end of the terminal end it.

    The store takes changes again then: asyncio ends at once at a second Ctrl-C, and this does not.
    Raises Abort.
    """

    async def ended_by_signals() -> _T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101  it runs
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(ended_by_signals())
    except asyncio.CancelledError:
        raise click.Abort from None
