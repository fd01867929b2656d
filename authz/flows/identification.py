"""Identification: finds the key that a text belongs to, and whether the text still works."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from authz.core.admin_ports import ImportStore, RecordReader
from authz.core.errors import Unreadable
from authz.core.keys.credentials import Presented, matches
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock, PepperProof
from authz.core.records import KeyRecord, Status


class Standing(StrEnum):
    """Whether a text works as a key."""

    LIVE = "live"  # a disabled key counts, too: it may be enabled
    ENDED = "ended"  # the secret was rotated away, or the key is revoked, expired or deleted
    UNKNOWN = "unknown"  # it is no key of this installation
    UNPROVED = "unproved"  # it looks like one, and the pepper that would tell is missing here


@dataclass(frozen=True, slots=True)
class Identity:
    """The key of a text. kid: empty if it is unknown. record: None if it is gone or unreadable.

    A key whose record cannot be read counts as live: it can be revoked by its kid. public: it is
    publishable, by its record, else by its text. secret: the number of the secret, if it is live.
    """

    standing: Standing
    kid: str = ""
    record: KeyRecord | None = None
    public: bool = False
    secret: str = ""

    @property
    def is_canary(self) -> bool:
        """Whether it is a decoy, which never works and stays, so that its uses are reported."""
        return self.record is not None and self.record.status is Status.CANARY


UNKNOWN = Identity(Standing.UNKNOWN)
UNPROVED = Identity(Standing.UNPROVED)


@dataclass(frozen=True, slots=True)
class _Claim:
    """The kid that a text leads to. is_proven: the text itself proves that it is a secret of it."""

    kid: str
    digests: Sequence[bytes]
    is_proven: bool
    public: bool = False


class Identification:
    """Identifies texts. imports: finds imported keys; None if no keys were ever imported."""

    def __init__(
        self,
        keyring: Keyring,
        records: RecordReader,
        imports: ImportStore | None,
        clock: Clock,
        *,
        peppers: PepperProof,
    ) -> None:
        self._peppers = peppers
        self._keyring = keyring
        self._records = records
        self._imports = imports
        self._clock = clock

    async def identify(self, texts: Sequence[str]) -> list[Identity]:
        """Return the key of each text, in order. Reads the store and changes nothing.

        A text in our format counts only if its tag is right, an imported key only if its record has
        the secret or cannot be read. UNPROVED if the tag is wrong and the pepper is not known to be
        the store's. Raises Unavailable if the store is unreachable.
        """
        claims = await self._claims(texts)
        kids = list(dict.fromkeys(claim.kid for claim in claims if isinstance(claim, _Claim)))
        records = dict(zip(kids, await self._records.read(kids), strict=True))
        now = self._clock.wall_ms()
        return [
            _identity(claim, records[claim.kid], now) if isinstance(claim, _Claim) else claim
            for claim in claims
        ]

    async def _claims(self, texts: Sequence[str]) -> list[_Claim | Identity]:
        claims: list[_Claim | Identity] = []
        imported: dict[int, list[bytes]] = {}
        for at, text in enumerate(texts):
            presented = self._keyring.parse(text)
            if presented is not None:
                claims.append(self._claim(presented, public=self._keyring.is_public(text)))
                continue
            claims.append(UNKNOWN)
            if found := self._keyring.parse_imported(text):
                imported[at] = list(found.all_digests())
        if self._imports is not None and imported:
            kids = await self._imports.resolve_all(list(imported.values()))
            for (at, digests), kid in zip(imported.items(), kids, strict=True):
                if isinstance(kid, str):
                    claims[at] = _Claim(kid, digests, is_proven=False)
        return claims

    def _claim(self, presented: Presented, *, public: bool) -> _Claim | Identity:
        flaw = presented.flaw()
        if flaw is None:
            return _Claim(presented.kid, [presented.digest()], True, public)
        is_forged = flaw != "tag" or self._peppers.refutes(presented.pepper_version)
        return UNKNOWN if is_forged else UNPROVED


def _identity(claim: _Claim, record: KeyRecord | Unreadable | None, now: int) -> Identity:
    """Return the identity of a claim. now: ms since the epoch."""
    if not isinstance(record, KeyRecord):
        if record is None and not claim.is_proven:
            return UNKNOWN
        standing = Standing.ENDED if record is None else Standing.LIVE
        return Identity(standing, claim.kid, public=claim.public)
    secrets = [one for one in record.secrets if any(matches(d, one.digest) for d in claim.digests)]
    if not secrets and not claim.is_proven:
        return UNKNOWN
    is_over = record.expires_at is not None and record.expires_at <= now
    live = [one.id for one in secrets if one.is_live(now)]
    if record.status is Status.REVOKED or is_over or not live:
        return Identity(Standing.ENDED, claim.kid, record, record.public)
    return Identity(Standing.LIVE, claim.kid, record, record.public, live[-1])
