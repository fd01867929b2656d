"""Consent to an empty store in place of one that lost its data, for `authz init`."""

from collections.abc import Sequence

import click

from authz.cli.consent import require_consent
from authz.storage.keys import StoredKeys


async def lost_change(empty: Sequence[StoredKeys], known: int | None) -> int | None:
    """Return the last known change of partitions without data; None if they never had any.

    known: the change in the state file, or None without one. A sidecar may have recorded a later
    one.
    """
    seen = max([await store.highest_seen() for store in empty], default=0)
    return None if not empty or (known is None and not seen) else max(seen, known or 0)


def confirm_new_store(lost: int, of: str, *, is_new: bool, is_agreed: bool) -> None:
    """Return only if the operator wants an empty store in place of the lost one.

    lost: its last known change, and of: the lost partitions, for the message. Raises
    ClickException without --new-store or after a no, BadInput without --yes if stdin or stderr is
    not a terminal.
    """
    if not is_new:
        raise click.ClickException(
            f"the store's data{of} is gone: it was at change {lost} or later; restore it with "
            "`authz restore FILE`, or begin without its keys with `authz init --new-store`"
        )
    if not is_agreed:
        question = "set up an empty store? All keys of the lost one get 401"
        require_consent(question, "nothing was set up")
