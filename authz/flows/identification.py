"""Identification: finds the key that a text belongs to, and whether the text still works."""

from dataclasses import dataclass
from enum import StrEnum

from authz.core.admin_ports import ImportStore, KeyStore
from authz.core.errors import Unreadable
from authz.core.keys.credentials import matches
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.records import KeyRecord, Status
from authz.flows.verify import resolve


class Standing(StrEnum):
    """Whether a text works as a key."""

    LIVE = "live"  # a disabled key counts, too: it may be enabled
    ENDED = "ended"  # the secret was rotated away, or the key is revoked, expired or deleted
    UNKNOWN = "unknown"  # it is no key of this installation


@dataclass(frozen=True, slots=True)
class Identity:
    """The key of a text. kid: empty if it is unknown. record: None if it is gone or unreadable.

    A key whose record cannot be read counts as live: it can be revoked by its kid.
    """

    standing: Standing
    kid: str = ""
    record: KeyRecord | None = None


UNKNOWN = Identity(Standing.UNKNOWN)


class Identification:
    """Identifies texts. imports: finds imported keys; None if no keys were ever imported."""

    def __init__(
        self, keyring: Keyring, keys: KeyStore, imports: ImportStore | None, clock: Clock
    ) -> None:
        self._keyring = keyring
        self._keys = keys
        self._imports = imports
        self._clock = clock

    async def identify(self, text: str) -> Identity:
        """Return the key of a text. Reads the store and changes nothing.

        A text in our format counts only if its tag is right, an imported key only if its record has
        the secret. Raises Unavailable if the store is unreachable.
        """
        if presented := self._keyring.parse(text):
            if presented.flaw() is not None:
                return UNKNOWN
            return await self._standing(presented.kid, [presented.digest()], is_proven=True)
        imported = self._keyring.parse_imported(text)
        if imported is None or self._imports is None:
            return UNKNOWN
        alias = await resolve(self._imports, imported)
        if alias is None:
            return UNKNOWN
        return await self._standing(alias.kid, list(imported.all_digests()), is_proven=False)

    async def _standing(self, kid: str, digests: list[bytes], *, is_proven: bool) -> Identity:
        """Return the standing of the secret with one of the digests.

        is_proven: whether the text itself proves that it is a secret of this kid.
        """
        try:
            record = await self._keys.find(kid)
        except Unreadable:
            return Identity(Standing.LIVE, kid) if is_proven else UNKNOWN
        if record is None:
            return Identity(Standing.ENDED, kid) if is_proven else UNKNOWN
        secrets = [one for one in record.secrets if any(matches(d, one.digest) for d in digests)]
        if not secrets and not is_proven:
            return UNKNOWN
        now = self._clock.wall_ms()
        is_over = record.expires_at is not None and record.expires_at <= now
        works = any(one.is_live(now) for one in secrets)
        if record.status is Status.REVOKED or is_over or not works:
            return Identity(Standing.ENDED, kid, record)
        return Identity(Standing.LIVE, kid, record)
