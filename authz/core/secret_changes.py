"""Changes of the secrets of a key: a second one, the end of one, and the way back."""

from dataclasses import replace

from authz.core.audit import Action
from authz.core.changes import Author, Outcome, Refused, Unchanged, planned, secret_of
from authz.core.keys.credentials import Minted
from authz.core.records import MAX_LINEAGE, MAX_LIVE_SECRETS, KeyRecord, Secret, Status


def rotate(record: KeyRecord, minted: Minted, grace_ms: int, author: Author, now: int) -> Outcome:
    """Plan a second secret. The live ones work for at most `grace_ms` more; with 0 they stop now.

    `now`: ms since the epoch. The key gets the lifetime again that the newest secret had. The
    overlap ends with the key at the latest, and an expired key gets none. At most MAX_LINEAGE (5)
    secrets are kept. Returns Unchanged if the record has this secret already. Returns Refused if
    the key is revoked or a canary key, or if two secrets are live and `grace_ms` is not 0.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; issue a new key")
    if record.status is Status.CANARY:
        return Refused(f"{record.kid} is a canary key, which needs no new secret; issue another")
    if any(entry.digest == minted.digest for entry in record.secrets):
        return Unchanged(record, f"{record.kid} was given this secret already")
    if record.expires_at is not None and record.expires_at <= now:
        grace_ms = 0
    live = [entry for entry in record.secrets if entry.is_live(now)]
    if grace_ms and len(live) >= MAX_LIVE_SECRETS:
        older, newer = live[0].id, live[-1].id
        until = "until its overlap ends" if live[0].retires_at is not None else "without an end"
        return Refused(
            f"{record.kid} has two live secrets: {older}, {until}, and {newer}; "
            f"wait, or `authz keys retire {record.kid} --secret old` ends {older} now; "
            "--grace 0 ends both"
        )
    expires_at = record.expires_at
    if expires_at is not None:
        expires_at = now + expires_at - record.newest_secret.created_at
    retires_at = min(now + grace_ms, now + grace_ms if expires_at is None else expires_at)
    kept = tuple(_retire(entry, retires_at, now) for entry in _recent(record.secrets, now))
    new_id = str(int(record.last.id) + 1)
    rotated = replace(
        record, secrets=(*kept, secret_of(new_id, minted, now)), expires_at=expires_at
    )
    return planned(
        record,
        rotated,
        Action.ROTATE,
        author,
        now,
        secret=new_id,
        retires_at=retires_at,
        expires_at=expires_at,
    )


def retire(record: KeyRecord, which: str, author: Author, now: int) -> Outcome:
    """Plan the end of one live secret, now. The other one works as before.

    which: `old` or `new` of two live secrets, or the number of a secret. `now`: ms since the epoch.
    Returns Unchanged if that secret is not live. Returns Refused if the key is revoked, if it has
    no such secret, or if no other secret is live.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; no secret of it works")
    live = [entry for entry in record.secrets if entry.is_live(now)]
    chosen = {"old": live[:1], "new": live[-1:]}.get(
        which, [entry for entry in record.secrets if entry.id == which]
    )
    if not chosen:
        known = ", ".join(entry.id for entry in record.secrets)
        return Refused(f"{record.kid} has no secret {which}; it has {known}")
    (secret,) = chosen
    if secret not in live:
        return Unchanged(record, f"secret {secret.id} of {record.kid} works no more already")
    if len(live) == 1:
        return Refused(
            f"{record.kid} has one live secret, {secret.id}; `authz keys rotate {record.kid} "
            "--grace 0` replaces it, disable or revoke ends the key"
        )
    kept = tuple(
        replace(entry, retires_at=now) if entry is secret else entry for entry in record.secrets
    )
    retired = replace(record, secrets=kept)
    return planned(record, retired, Action.RETIRE, author, now, secret=secret.id, retires_at=now)


def end_old(record: KeyRecord, ends_at: int, author: Author, now: int) -> Outcome:
    """Plan an earlier end of the older of two live secrets: at `ends_at`, or now if that is over.

    Times are in ms since the epoch. Returns Unchanged if it ends by then already, Refused if the
    key is revoked or no two secrets are live.
    """
    live = _two_live(record, now)
    if isinstance(live, Refused):
        return live
    older, at = live[0], max(ends_at, now)
    if older.retires_at is not None and older.retires_at <= at:
        return Unchanged(record, f"secret {older.id} of {record.kid} ends by then")
    kept = tuple(
        replace(entry, retires_at=at) if entry is older else entry for entry in record.secrets
    )
    ended = replace(record, secrets=kept)
    return planned(record, ended, Action.RETIRE, author, now, secret=older.id, retires_at=at)


def tell_end(record: KeyRecord, number: str, by: int, author: Author, now: int) -> Outcome:
    """Plan the event of `end_old` for a secret that ends at `by` at the latest, and leave its end.

    Times are in ms since the epoch. Returns Refused if there is no such secret, if it has a later
    end or none, or if the key is revoked.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; no secret of it works")
    at = next((one.retires_at for one in record.secrets if one.id == number), None)
    if at is None or at > by:
        return Refused(f"secret {number} of {record.kid} does not end by then")
    return planned(record, record, Action.RETIRE, author, now, secret=number, retires_at=at)


def hold(record: KeyRecord, target: str, author: Author, now: int) -> Outcome:
    """Plan an overlap without an end: both of two live secrets work until one of them is ended.

    target: from which the holder of the key may have the newer secret, or not. `now`: ms since the
    epoch. Returns Unchanged if the overlap has no end already, Refused if the key is revoked or no
    two secrets are live.
    """
    live = _two_live(record, now)
    if isinstance(live, Refused):
        return live
    older, newer = live
    if older.retires_at is None:
        return Unchanged(record, f"both secrets of {record.kid} work without an end")
    kept = tuple(
        replace(entry, retires_at=None) if entry is older else entry for entry in record.secrets
    )
    held = replace(record, secrets=kept)
    detail = {"secret": newer.id, "target": target, "retires_at": None}
    return planned(record, held, Action.HOLD, author, now, **detail)


def tell_undecided(record: KeyRecord, target: str, author: Author, now: int) -> Outcome:
    """Plan the same event as `hold`, and leave each secret its end. `now`: ms since the epoch.

    The event has the end of the secret before the newest one. Returns Refused if the key is
    revoked.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; no secret of it works")
    ends = [one.retires_at for one in record.secrets[:-1] if one.retires_at is not None]
    detail = {"secret": record.last.id, "target": target, "retires_at": max(ends, default=None)}
    return planned(record, record, Action.HOLD, author, now, **detail)


def roll_back(record: KeyRecord, author: Author, now: int) -> Outcome:
    """Plan the end of the newer of two live secrets. The older one has no end any more.

    The key gets the lifetime back that it had with the older secret, and at least the rest of the
    overlap: an overlap without an end leaves the key its expiry. `now`: ms since the epoch. Returns
    Refused if the key is revoked, or if no two secrets are live: the overlap is over.
    """
    live = _two_live(record, now)
    if isinstance(live, Refused):
        return live
    older, newer = live
    ends = {older.id: None, newer.id: now}
    kept = tuple(
        replace(entry, retires_at=ends[entry.id]) if entry.id in ends else entry
        for entry in record.secrets
    )
    expires_at = record.expires_at
    if expires_at is not None and older.retires_at is not None:
        earlier = expires_at - (newer.created_at - older.created_at)
        expires_at = min(expires_at, max(earlier, older.retires_at))
    rolled = replace(record, secrets=kept, expires_at=expires_at)
    detail = {"secret": older.id, "retired": newer.id, "expires_at": expires_at}
    return planned(record, rolled, Action.ROLL_BACK, author, now, **detail)


def _two_live(record: KeyRecord, now: int) -> tuple[Secret, Secret] | Refused:
    """Return the older and the newer of two live secrets.

    Refused if the key is revoked or no two secrets are live.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; no secret of it works")
    live = [entry for entry in record.secrets if entry.is_live(now)]
    if len(live) < MAX_LIVE_SECRETS:
        return Refused(f"{record.kid} has no two live secrets: its overlap is over")
    return live[0], live[-1]


def _recent(secrets: tuple[Secret, ...], now: int) -> list[Secret]:
    """Return at most MAX_LINEAGE - 1 secrets: all live ones, and the newest of the others."""
    ended = [entry for entry in secrets if not entry.is_live(now)]
    surplus = ended[: max(0, len(secrets) + 1 - MAX_LINEAGE)]
    return [entry for entry in secrets if entry not in surplus]


def _retire(entry: Secret, retires_at: int, now: int) -> Secret:
    """Return a live secret that retires at `retires_at`, or earlier if it was to retire earlier.

    Of a secret that is not live: unchanged, or without its digest 30 days after it retired.
    """
    if entry.is_live(now):
        return replace(entry, retires_at=min(retires_at, entry.retires_at or retires_at))
    return entry if entry.is_remembered(now) else replace(entry, digest=b"")
