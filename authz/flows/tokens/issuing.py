"""TokenIssuer: makes the token of a key whose secret is proven."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from authz.core.errors import BadInput, Unavailable
from authz.core.keys.pepper import Mac
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.tokens import text
from authz.core.tokens.rights import expiry, narrowed
from authz.core.tokens.signing_keys import SigningKey, SigningKeyEntries, signer
from authz.core.tokens.text import Claims, issuer_mark
from authz.flows.tokens.ports import Entries, OpenKey, Signer, SigningKeyStore

SCOPE: Final = "scope"
AUDIENCE: Final = "audience"
NO_KEY: Final = "no signing key is in force; `authz tokens keys rotate` makes one"


@dataclass(frozen=True, slots=True)
class IssuingRules:
    """The issuer, the audiences of its tokens, and their lifetime (s).

    The first audience is the default.
    """

    issuer: str
    audiences: Sequence[str]
    lifetime: int


@dataclass(frozen=True, slots=True)
class Wish:
    """The rights that a caller wants. None and empty: those of the key, and the defaults.

    lifetime: seconds, at least 1. More than the permitted one is not refused but shortened.
    """

    scopes: frozenset[str] | None = None
    audience: str = ""
    lifetime: int | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token. `token` is the only copy. expires_in: seconds."""

    claims: Claims
    token: str = field(repr=False)

    @property
    def expires_in(self) -> int:
        """The lifetime in seconds."""
        return self.claims.expires_at - self.claims.issued_at


class TokenIssuer:
    """Makes tokens of one issuer. source: the public entries; store: the private halves.

    tags: MACs of the tag by pepper version, the newest last; that one is used.
    """

    def __init__(
        self,
        source: Entries,
        store: SigningKeyStore,
        entries: SigningKeyEntries,
        open_key: OpenKey,
        *,
        tags: Mapping[str, Mac],
        rules: IssuingRules,
        clock: Clock,
    ) -> None:
        self._source = source
        self._store = store
        self._entries = entries
        self._open = open_key
        self._tags = tags
        self._pepper = list(tags)[-1]
        self._rules = rules
        self._clock = clock
        self._opened: tuple[SigningKey, Signer] | None = None

    async def issue(self, record: KeyRecord, secret_id: str, wish: Wish) -> Issued | None:
        """Return a new token, or None if the key or its secret ends within this second.

        Raises BadInput about SCOPE or AUDIENCE for a wish that the key or the issuer does not
        grant, Unavailable if no signing key can be used.
        """
        audience = wish.audience or self._rules.audiences[0]
        if audience not in self._rules.audiences:
            raise BadInput(AUDIENCE, "no audience of this issuer")
        scopes = narrowed(wish.scopes, record.scopes)
        if scopes is None:
            raise BadInput(SCOPE, "not a scope of the key")
        now = self._clock.wall_ms()
        lifetime = self._rules.lifetime if wish.lifetime is None else wish.lifetime
        end = expiry(record, secret_id, lifetime, now)
        if end <= now // 1000:
            return None
        claims = Claims(
            issuer=self._rules.issuer,
            kid=record.kid,
            client_id=record.client_id,
            audience=audience,
            scopes=scopes,
            issued_at=now // 1000,
            not_before=now // 1000,
            expires_at=end,
            secret_id=secret_id,
            token_id=text.new_token_id(self._pepper),
        )
        key, private = await self._signer(now)
        signed, token_id = text.unsigned(claims, key.key_id, self._tags[self._pepper])
        token = text.joined(signed, private.sign(signed.encode()))
        if len(token) > text.MAX_TOKEN:
            raise BadInput(SCOPE, "too many scopes for a token; ask for those that are needed")
        return Issued(claims._replace(token_id=token_id), token)

    async def _signer(self, now: int) -> tuple[SigningKey, Signer]:
        """Return the key that signs now, and its private half, which is read once."""
        mark = issuer_mark(self._rules.issuer)
        keys = self._entries.read_all(self._source.signing)
        key = signer([one for one in keys if one.key_id.startswith(mark)], now)
        if key is None:
            raise Unavailable(NO_KEY)
        if self._opened is None or self._opened[0] != key:
            private = self._open(await self._store.private_half(key.key_id), key)
            self._opened = key, private
        return self._opened
