"""What is known of a key. Times are whole milliseconds since the epoch (UTC)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from authz.core.fields import Network
from authz.core.limits.limit import Limit, OnOutage

MAX_LIVE_SECRETS: Final = 2
MAX_LINEAGE: Final = 5
RETIRED_DIGEST_KEPT_MS: Final = 30 * 86_400_000


class Status(StrEnum):
    """The state of a key."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REVOKED = "revoked"


# From each status, what it may become. Revoked is terminal: a leaked key never comes back.
STATUS_CHANGES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.ACTIVE: frozenset({Status.DISABLED, Status.REVOKED}),
    Status.DISABLED: frozenset({Status.ACTIVE, Status.REVOKED}),
    Status.REVOKED: frozenset(),
}


class RevocationReason(StrEnum):
    """Why a key was revoked, in the words of RFC 5280, section 5.3.1."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a key. An old one keeps its digest for a while, then only its place in line."""

    id: str
    digest: bytes = field(repr=False)
    pepper: str
    created_at: int
    retires_at: int | None = None

    def is_live(self, now: int) -> bool:
        """Does this secret open anything at `now`?"""
        return bool(self.digest) and (self.retires_at is None or now < self.retires_at)

    def is_remembered(self, now: int) -> bool:
        """Is its holder still told that it was rotated, rather than that the key is unknown?"""
        return bool(self.digest) and (
            self.retires_at is None or now < self.retires_at + RETIRED_DIGEST_KEPT_MS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as the store keeps it. `version` is the sequence number of the change that wrote it."""

    kid: str
    version: int
    status: Status
    env: str
    client_id: str
    created_at: int
    secrets: tuple[Secret, ...]
    name: str = ""
    project_id: str = ""
    tenant_id: str = ""
    plan: str = ""  # of the settings; with none the key has its own limits only
    limits: tuple[Limit, ...] = ()
    on_outage: OnOutage | None = None  # of the limits; None: as the sidecar is set to
    scopes: frozenset[str] = frozenset()
    not_before: int | None = None
    expires_at: int | None = None
    allowed_cidrs: tuple[Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    revoked_at: int | None = None
    revocation_reason: RevocationReason | None = None
    outage_grace: int | None = None  # milliseconds; None: the sidecar's setting applies
    turns: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The times at which a decision on this key may turn."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(self._times()))

    def _times(self) -> Iterator[int]:
        if self.not_before is not None:
            yield self.not_before
        if self.expires_at is not None:
            yield self.expires_at
        for secret in self.secrets:
            if secret.digest and secret.retires_at is not None:
                yield secret.retires_at
                yield secret.retires_at + RETIRED_DIGEST_KEPT_MS

    @property
    def newest_secret(self) -> Secret:
        """The secret that the last issue or rotation made."""
        return self.secrets[-1]


def as_revoked(record: KeyRecord) -> KeyRecord:
    """The same key for a reader that knows better than the store: once revoked, always revoked."""
    if record.status is Status.REVOKED:
        return record
    return replace(record, status=Status.REVOKED)
