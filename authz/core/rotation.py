"""Rotation policies: when a key is due for a new secret, and when its owner is reminded."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from authz.core.records import MAX_LIVE_SECRETS, KeyRecord, Secret, Status


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """A policy. rotate_every_ms: the age at which a secret is due. remind_ms: times before that.

    retire_after_ms: for so long only the new secret must have been used before the old one ends
    early; None: the old one works until its overlap ends. to: the target of new secrets, "": none.
    overlap_ms: how long the old secret works after a delivery.
    """

    rotate_every_ms: int
    remind_ms: tuple[int, ...] = ()
    retire_after_ms: int | None = None
    to: str = ""
    overlap_ms: int = 7 * 86_400_000

    def due_at(self, record: KeyRecord) -> int:
        """Return when the newest secret of a key is due, in ms since the epoch."""
        return record.newest_secret.created_at + self.rotate_every_ms

    def stage(self, record: KeyRecord, now: int) -> int | None:
        """Return the latest reminder that has come: its time before the due time, in ms.

        0 from the due time on, None before the first reminder. now: ms since the epoch.
        """
        left = self.due_at(record) - now
        return min((one for one in (*self.remind_ms, 0) if left <= one), default=None)

    def unused(self, record: KeyRecord, used: Mapping[str, int], now: int) -> Secret | None:
        """Return the older of two live secrets if only the newer one was used for long enough.

        used: by the id of a secret, its latest use in ms since the epoch. now: ms since the epoch.
        None too without `retire_after_ms`.
        """
        live = [entry for entry in record.secrets if entry.is_live(now)]
        if self.retire_after_ms is None or len(live) != MAX_LIVE_SECRETS:
            return None
        older, newer = live
        since = now - self.retire_after_ms
        is_moved = newer.created_at <= since <= used.get(newer.id, 0)
        return older if is_moved and used.get(older.id, 0) < since else None


@dataclass(frozen=True, slots=True)
class RotationPolicies:
    """The policies of an installation. default: for keys of other plans and without one."""

    plans: Mapping[str, RotationPolicy] = field(default_factory=dict)
    default: RotationPolicy | None = None

    def each(self) -> tuple[RotationPolicy, ...]:
        """Return all policies."""
        return (*self.plans.values(), *([self.default] if self.default else ()))

    def of(self, record: KeyRecord, now: int) -> RotationPolicy | None:
        """Return the policy of a key; None without one, and for a key that does not work at `now`.

        now: ms since the epoch.
        """
        is_over = record.expires_at is not None and record.expires_at <= now
        if record.status is not Status.ACTIVE or is_over:
            return None
        return self.plans.get(record.plan, self.default)


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder about one secret of a key. before_ms: that of `RotationPolicy.stage`.

    due_at: ms since the epoch.
    """

    kid: str
    secret: str
    before_ms: int
    due_at: int


def reminder(record: KeyRecord, policies: RotationPolicies, now: int) -> Reminder | None:
    """Return the reminder that a key needs now, whether it was given before or not."""
    policy = policies.of(record, now)
    stage = policy.stage(record, now) if policy else None
    if policy is None or stage is None:
        return None
    return Reminder(record.kid, record.newest_secret.id, stage, policy.due_at(record))
