"""Roll-back: the last rotation of a key is undone while both secrets work."""

from dataclasses import replace

from authz.core.audit import Action
from authz.core.changes import Author, Outcome, Refused, planned
from authz.core.records import MAX_LIVE_SECRETS, KeyRecord, Status


def roll_back(record: KeyRecord, author: Author, now: int) -> Outcome:
    """Plan the end of the newer of two live secrets. The older one has no end any more.

    The key gets the lifetime back that it had with the older secret, and at least the rest of the
    overlap. `now`: ms since the epoch. Returns Refused if the key is revoked, or if no two secrets
    are live: the overlap is over.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; no secret of it works")
    live = [entry for entry in record.secrets if entry.is_live(now)]
    if len(live) < MAX_LIVE_SECRETS:
        return Refused(f"{record.kid} has no two live secrets: its overlap is over")
    older, newer = live[0], live[-1]
    ends = {older.id: None, newer.id: now}
    kept = tuple(
        replace(entry, retires_at=ends[entry.id]) if entry.id in ends else entry
        for entry in record.secrets
    )
    expires_at = record.expires_at
    if expires_at is not None:
        earlier = expires_at - (newer.created_at - older.created_at)
        expires_at = min(expires_at, max(earlier, older.retires_at or earlier))
    rolled = replace(record, secrets=kept, expires_at=expires_at)
    detail = {"secret": older.id, "retired": newer.id, "expires_at": expires_at}
    return planned(record, rolled, Action.ROLL_BACK, author, now, **detail)
