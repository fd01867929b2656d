"""Rows of the audit trail that are about no key: signing keys, blocked clients, and deliveries.

Such a row has no kid and makes no version: an older version of authz skips it. The detail has the
id of the signing key, the clients, the network, or the sink.
"""

from typing import Final

from authz.core.audit import Action
from authz.core.trail.rows import Row

SIGNING_KEY: Final = "signing_key"  # in the detail, as the names below
CLIENTS: Final = "clients"
NETWORK: Final = "network"
SINK: Final = "sink"
EVENT_IDS: Final = "event_ids"
COUNT: Final = "count"
MOST_LISTED: Final = 100  # clients or ids in one detail; the count is that of all

ACTIONS: Final = frozenset(
    action.value
    for action in (
        *(Action.ROTATE_SIGNING_KEY, Action.REMOVE_SIGNING_KEY),
        *(Action.CLEAR_BLOCKED_CLIENTS, Action.ALLOW_NETWORK, Action.FORBID_NETWORK),
        Action.REPLAY_EVENTS,
    )
)


def is_about_installation(row: Row) -> bool:
    """Return whether a row is about the installation, not a key. The mark is not checked."""
    return not row.kid and row.fields.get("action") in ACTIONS
