"""Keyring: mints and parses keys with the prefix and the peppers of one installation."""

import re
import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from authz.core.errors import BadInput, Unavailable
from authz.core.fields import shown
from authz.core.keys import base62
from authz.core.keys.credentials import Imported, ImportedHash, Minted, Presented
from authz.core.keys.pepper import Mac, Pepper, hmac_sha256
from authz.core.keys.text import (
    CHECKSUM_LENGTH,
    ENVIRONMENTS,
    IMPORTED_PATTERN,
    KID_LENGTH,
    MIN_IMPORTED,
    PREFIX_PATTERN,
    PUBLIC_PREFIX,
    SECRET_LENGTH,
    TAG_BYTES,
    TAG_LENGTH,
    check_declared,
    checksum,
    in_base64,
    new_kid,
    percent_decoded,
)
from authz.core.partitions import ONE, Partitions
from authz.core.seals import AppliedSeals, EntrySeals, RecordSeals
from authz.core.tokens.presented import PresentedToken
from authz.core.tokens.signing_keys import SigningKeyEntries
from authz.core.tokens.text import MAX_TOKEN, token_start
from authz.core.trail.rows import TrailKeys

if TYPE_CHECKING:  # for repeatable requests alone
    from authz.core.keys.seed import Seed

MAX_ESCAPES: Final = 3  # readers that decode a text one after the other
_NOT_BASE64: Final = bytes(set(range(128)) - set(f"{base62.DIGITS}+/-_".encode()))


class Keyring:
    """The prefix and the peppers of one installation. The last pepper is the newest; it mints.

    older_prefixes: keys with one of these are also ours. New keys have `prefix`. imported_prefixes:
    the declared beginnings of imported keys. issuer: of our tokens; empty if there are none.
    public_prefix: of publishable keys. If keys with it are secret, none is publishable. The
    constructor raises BadInput for a wrong prefix, no pepper, or two peppers of the same version.
    partitions: of the store.
    """

    def __init__(
        self,
        prefix: str,
        peppers: Sequence[Pepper],
        older_prefixes: Sequence[str] = (),
        imported_prefixes: Sequence[str] = (),
        *,
        issuer: str = "",
        public_prefix: str = PUBLIC_PREFIX,
        partitions: Partitions = ONE,
    ) -> None:
        self.partitions = partitions
        self.prefixes = (prefix, *older_prefixes)
        self.public_prefix = "" if public_prefix in self.prefixes else public_prefix
        every = (*self.prefixes, public_prefix)
        if not all(map(PREFIX_PATTERN.fullmatch, every)):
            raise BadInput("keys.prefix", "2 to 12 characters, a letter first, such as ak")
        if not peppers:
            raise BadInput("keys.peppers", "no pepper is configured; `authz init` makes one")
        self._peppers = {pepper.version: pepper for pepper in peppers}
        if len(self._peppers) != len(peppers):
            raise BadInput("keys.peppers", "two peppers have the same version")
        self._newest, self._newest_first = peppers[-1], tuple(reversed(peppers))
        self._start, self._public_start = f"{prefix}_", f"{public_prefix}_"
        self._starts = tuple(f"{one}_" for one in self.prefixes)
        self._declared = tuple(imported_prefixes)
        for one in self._declared:
            check_declared(one, self._starts)
        self._token_starts = (token_start(issuer),) if issuer else ()
        self._claimed = (*self._starts, *self._declared, *self._token_starts)
        own = (f"{start}{env}_" for start in self._starts for env in ENVIRONMENTS)
        self._reserved = (*own, *self._token_starts)
        self._shown = re.compile("|".join(self._reserved), re.ASCII)
        self._encoded = sorted(set().union(*map(in_base64, self._reserved)))
        self._whole_shape = re.compile(
            rf"(?:{'|'.join(every)})_({'|'.join(ENVIRONMENTS)})_([0-9A-Za-z]{{{KID_LENGTH}}})_([0-9A-Za-z])"
            rf"[0-9A-Za-z]{{{SECRET_LENGTH + TAG_LENGTH + CHECKSUM_LENGTH}}}",
            re.ASCII,
        ).fullmatch

    @property
    def read_prefixes(self) -> tuple[str, ...]:
        """The prefixes of all keys that are read, also of publishable ones."""
        return (*self.prefixes, self.public_prefix) if self.public_prefix else self.prefixes

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints by pepper version. They are public: they reveal nothing of the pepper."""
        return {version: pepper.fingerprint for version, pepper in self._peppers.items()}

    @property
    def snapshot_keys(self) -> list[bytes]:
        """The keys that may sign a snapshot of the cache. The last one, the newest, signs."""
        return [pepper.snapshot_key for pepper in self._peppers.values()]

    @property
    def backup_keys(self) -> list[bytes]:
        """The keys that may seal a backup of the store. The last one, the newest, seals."""
        return [pepper.backup_key for pepper in self._peppers.values()]

    @property
    def page_keys(self) -> list[bytes]:
        """The keys, of 32 bytes, that may seal page tokens. The last one, the newest, seals."""
        return [pepper.page_key for pepper in self._peppers.values()]

    @property
    def session_keys(self) -> list[bytes]:
        """The keys, of 32 bytes, that may seal sessions and login links. The last one seals."""
        return [pepper.session_key for pepper in self._peppers.values()]

    @cached_property
    def trail_keys(self) -> TrailKeys:
        """The keys of the marks in the audit trail. The newest pepper marks new entries."""
        return TrailKeys({version: one.trail_key for version, one in self._peppers.items()})

    @property
    def record_seals(self) -> RecordSeals:
        """The seals of key records. The newest pepper seals."""
        return RecordSeals({version: one.record_key for version, one in self._peppers.items()})

    @property
    def entry_seals(self) -> EntrySeals:
        """The seals of registry entries. Each pepper seals."""
        return EntrySeals({version: one.entry_key for version, one in self._peppers.items()})

    @property
    def applied_seals(self) -> AppliedSeals:
        """The seals of applied fields. The newest pepper seals."""
        return AppliedSeals({version: one.applied_key for version, one in self._peppers.items()})

    @property
    def token_tags(self) -> dict[str, Mac]:
        """The MACs of the tags in tokens, by pepper version. The newest pepper is the last one."""
        return {version: hmac_sha256(one.token_key) for version, one in self._peppers.items()}

    @property
    def signing_entries(self) -> SigningKeyEntries:
        """The writer and reader of entries of signing keys."""
        return SigningKeyEntries({v: one.signing_entry_key for v, one in self._peppers.items()})

    @property
    def signing_seal_keys(self) -> dict[str, bytes]:
        """The keys, of 32 bytes, that seal private halves of signing keys, by pepper version."""
        return {version: one.signing_seal_key for version, one in self._peppers.items()}

    @property
    def assertion_seeds(self) -> list[bytes]:
        """The seeds of the keys that sign assertions. The last one, of the newest pepper, signs.

        They have 32 bytes.
        """
        return [pepper.assertion_seed for pepper in self._peppers.values()]

    def claims(self, text: str) -> bool:
        """Return whether `text` begins with one of our prefixes and `_`, well-formed or not.

        True also for the prefix of imported keys that the settings declare, and for the beginning
        of our tokens. A publishable key has to be well-formed: keys of other systems begin so, too.
        """
        return text.startswith(self._claimed) or self.is_public(text)

    @property
    def imported_prefixes(self) -> tuple[str, ...]:
        """The declared beginnings of imported keys."""
        return self._declared

    def declares(self, text: str) -> bool:
        """Return whether `text` begins with a declared prefix of imported keys."""
        return text.startswith(self._declared)

    def shows_key(self, text: str) -> bool:
        """Return whether `PREFIX_ENV_` of one of our keys stands anywhere in `text`.

        The rest of the key is not looked at. True also for the beginning of one of our tokens, here
        and in `shows_escaped` and `shows_encoded`. Publishable keys are no secret and do not count.
        """
        return self._shown.search(text) is not None

    def shows_escaped(self, text: str) -> bool:
        """Return whether `PREFIX_ENV_` of one of our keys stands percent-escaped in `text`.

        Each character may be escaped on its own, up to MAX_ESCAPES (3) times. False without a
        percent sign; with one anywhere, `PREFIX_ENV_` may also stand there unescaped.
        """
        for _ in range(MAX_ESCAPES):
            if "%" not in text:
                return False
            text = percent_decoded(text)
            if self._shown.search(text):
                return True
        return False

    def shows_encoded(self, text: str) -> bool:
        """Return whether `PREFIX_ENV_` of one of our keys stands in base64 anywhere in `text`.

        Other characters between those of base64 are ignored, as lenient decoders do.
        """
        pure = text.encode("ascii", "ignore").translate(None, _NOT_BASE64).decode()
        return any(form in pure for form in self._encoded)  # faster than a pattern

    def parse(self, text: str) -> Presented | None:
        """Parse a key in our format; None if its shape is wrong. Checksum and tag are not checked.

        A key of a pepper version that we lack is parsed too.
        """
        match = self._whole_shape(text)
        if match is None:
            return None
        env, kid, version = match.groups()
        return Presented(text.encode(), env, kid, version, self._peppers.get(version))

    def is_public(self, text: str) -> bool:
        """Return whether `text` has the whole shape of a publishable key; blanks may follow it."""
        text = text.rstrip(" ") if self.public_prefix else ""
        return text.startswith(self._public_start) and self._whole_shape(text) is not None

    def parse_token(self, text: str) -> PresentedToken | None:
        """Return the token if `text` begins as our tokens do, else None. It proves nothing.

        None also for more than MAX_TOKEN (4096) characters. So nothing hashes a longer text.
        """
        is_token = len(text) <= MAX_TOKEN and text.startswith(self._token_starts)
        return PresentedToken(text) if is_token else None

    def parse_imported(self, text: str) -> Imported | None:
        """Parse a key of another system; None if it begins like one of ours or has a wrong shape.

        The shape: 16 to 256 of A-Z a-z 0-9 _ . ~ + / = -, with a declared prefix 8 to 256.
        """
        if text.startswith(self._reserved) or self.is_public(text):
            return None
        is_long_enough = len(text) >= MIN_IMPORTED or text.startswith(self._declared)
        if not is_long_enough or IMPORTED_PATTERN.fullmatch(text) is None:
            return None
        return Imported(text.encode(), self._newest_first)

    def imported_hash(self, hash_of_text: bytes) -> ImportedHash:
        """Return the key of another system that has this SHA-256, 32 bytes."""
        return ImportedHash(hash_of_text, self._newest_first)

    def mint(self, env: str, kid: str | None = None, *, public: bool = False) -> Minted:
        """Make a key with a new random secret for `kid`, or for a new random kid. Stores nothing.

        public: publishable. Raises BadInput for another `env`, or if no key can be publishable.
        """
        random = secrets.token_bytes(32)
        return self._minted(env, kid or new_kid(), self._newest, random, public=public)

    def mint_repeatably(self, env: str, seed: "Seed", kid: str, *, public: bool = False) -> Minted:
        """Make the secret of a repeatable request: the same seed always gives the same one.

        Raises BadInput as `mint`, Unavailable if we lack the pepper of the seed.
        """
        pepper = self.pepper_of(seed)
        return self._minted(env, kid, pepper, seed.secret(pepper), public=public)

    def change_id(self, seed: "Seed") -> str:
        """Return the change id of a repeatable request. Raises Unavailable as `mint_repeatably`."""
        return seed.change_id(self.pepper_of(seed))

    def new_seed(self) -> "Seed":
        """Return a new random seed for the newest pepper."""
        from authz.core.keys.seed import Seed  # noqa: PLC0415

        return Seed(secrets.token_bytes(32), self._newest.version)

    def pepper_of(self, seed: "Seed") -> Pepper:
        """Return the pepper of a seed. Raises Unavailable if we lack it."""
        pepper = self._peppers.get(seed.pepper_version)
        if pepper is None:
            raise Unavailable(f"keys.peppers lacks the pepper {shown(seed.pepper_version)}")
        return pepper

    def _minted(self, env: str, kid: str, pepper: Pepper, random: bytes, *, public: bool) -> Minted:
        if public and not self.public_prefix:
            raise BadInput("keys.public_prefix", "it is a prefix of secret keys; set another")
        start = self._public_start if public else self._start
        secret = base62.encode(int.from_bytes(random), SECRET_LENGTH)
        text = f"{start}{env}_{kid}_{pepper.version}{secret}"
        tag = pepper.tag(text.encode())[:TAG_BYTES]
        text += base62.encode(int.from_bytes(tag), TAG_LENGTH)
        text += checksum(text)
        presented = self.parse(text)
        if presented is None:
            raise BadInput("env", f"one of {', '.join(ENVIRONMENTS)}")
        return Minted(kid, env, pepper.version, text, presented.digest())
