"""KeyRecord: the stored record of a key. Times are whole milliseconds since the epoch (UTC)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from authz.core.addresses import Block, blocks_of
from authz.core.fields import Network
from authz.core.limits.limit import Limit, OnOutage
from authz.core.limits.throttle import Throttle

MAX_LIVE_SECRETS: Final = 2
MAX_LINEAGE: Final = 5
RETIRED_DIGEST_KEPT_MS: Final = 30 * 86_400_000
# The stored environment of a publishable key begins so. An older version cannot read the record.
PUBLIC_ENV: Final = "public:"


class Status(StrEnum):
    """The status of a key."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REVOKED = "revoked"
    CANARY = "canary"  # a decoy: it never works, and each use is reported


# The permitted changes of each status. Revoked is final: a leaked key never comes back.
STATUS_CHANGES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.ACTIVE: frozenset({Status.DISABLED, Status.REVOKED}),
    Status.DISABLED: frozenset({Status.ACTIVE, Status.REVOKED}),
    Status.REVOKED: frozenset(),
    Status.CANARY: frozenset({Status.REVOKED}),
}


class RevocationReason(StrEnum):
    """The reason of a revocation, by the names of RFC 5280, section 5.3.1."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a key. A retired one keeps its digest for 30 days, then only its id."""

    id: str
    digest: bytes = field(repr=False)
    pepper: str
    created_at: int
    retires_at: int | None = None

    def is_live(self, now: int) -> bool:
        """Return whether this secret is accepted: it has a digest and is not retired.

        now: milliseconds since the epoch. From `retires_at` on it is not accepted.
        """
        return bool(self.digest) and (self.retires_at is None or now < self.retires_at)

    def is_remembered(self, now: int) -> bool:
        """Return whether a refusal says that this secret was rotated, not that it is wrong.

        True for a live secret too, and until 30 days after `retires_at`. False without a digest.
        `now`: ms since the epoch.
        """
        return bool(self.digest) and (
            self.retires_at is None or now < self.retires_at + RETIRED_DIGEST_KEPT_MS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """The record of a key. `version`: the sequence number of the change that wrote it."""

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
    plan: str = ""  # name of a plan in the settings; empty: only the key's own limits
    limits: tuple[Limit, ...] = ()
    on_outage: OnOutage | None = None  # of the limits; None: the sidecar's setting applies
    throttle: Throttle | None = None  # lowers the rates until its end; may be over
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
    public: bool = False  # a publishable key: it may stand in a web page or an app
    unknown: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Stored fields that this version does not know. A change keeps them; sidecars omit them."""
    turns: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The times at which a decision on this key may turn, the earliest first."""
    blocks: tuple[Block, ...] = field(init=False, repr=False, compare=False)
    """`allowed_cidrs`, in the form in which an address is checked against them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(sorted(self._times())))
        object.__setattr__(self, "blocks", blocks_of(self.allowed_cidrs))

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
        """The secret of the last issue, import or rotation that was not rolled back.

        It is the last one without an end, or the last one if all have an end.
        """
        return next((one for one in reversed(self.secrets) if one.retires_at is None), self.last)

    @property
    def last(self) -> Secret:
        """The secret with the highest number, also if its rotation was rolled back."""
        return self.secrets[-1]


def as_revoked(record: KeyRecord) -> KeyRecord:
    """Return the record with the status REVOKED, and no other change: `revoked_at` stays.

    A key that was seen revoked stays revoked.
    """
    if record.status is Status.REVOKED:
        return record
    return replace(record, status=Status.REVOKED)
