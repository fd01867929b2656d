"""Rotation policies: when a key is due for a new secret, and when its owner is reminded."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from authz.core.records import KeyRecord, Status


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """A policy. rotate_every_ms: the age at which a secret is due. remind_ms: times before that."""

    rotate_every_ms: int
    remind_ms: tuple[int, ...] = ()

    def due_at(self, record: KeyRecord) -> int:
        """Return when the newest secret of a key is due, in ms since the epoch."""
        return record.newest_secret.created_at + self.rotate_every_ms

    def stage(self, record: KeyRecord, now: int) -> int | None:
        """Return the latest reminder that has come: its time before the due time, in ms.

        0 from the due time on, None before the first reminder. now: ms since the epoch.
        """
        left = self.due_at(record) - now
        return min((one for one in (*self.remind_ms, 0) if left <= one), default=None)


@dataclass(frozen=True, slots=True)
class RotationPolicies:
    """The policies of an installation. default: for keys of other plans and without one."""

    plans: Mapping[str, RotationPolicy] = field(default_factory=dict)
    default: RotationPolicy | None = None

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
