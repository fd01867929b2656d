"""Past: the state that an imported key had in the system that it comes from."""

from dataclasses import dataclass, replace

from authz.core.errors import BadInput
from authz.core.records import KeyRecord, RevocationReason, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Status and times of a key in another system. Times are milliseconds since the epoch.

    created_at: None for the time of the import. expires_at: may be past; then the key is expired
    here, too. None leaves the expiry of the record.
    """

    status: Status = Status.ACTIVE
    created_at: int | None = None
    expires_at: int | None = None

    def applied_to(self, record: KeyRecord, now: int) -> KeyRecord:
        """Return the new record of an imported key with this past. now: the time of the import.

        A revoked key gets `revoked_at=now` and the reason UNSPECIFIED. Its one secret gets the same
        `created_at` as the key.
        Raises BadInput if the key was created after `now`, or would expire before it begins.
        """
        created_at = now if self.created_at is None else self.created_at
        expires_at = record.expires_at if self.expires_at is None else self.expires_at
        if created_at > now:
            raise BadInput("created-at", "is in the future")
        begins = max(created_at, record.not_before or created_at)
        if expires_at is not None and expires_at <= begins:
            raise BadInput("expires-at", "the key would expire before it begins")
        is_revoked = self.status is Status.REVOKED
        return replace(
            record,
            status=self.status,
            created_at=created_at,
            expires_at=expires_at,
            secrets=(replace(record.newest_secret, created_at=created_at),),
            revoked_at=now if is_revoked else None,
            revocation_reason=RevocationReason.UNSPECIFIED if is_revoked else None,
        )
