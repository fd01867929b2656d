"""TokenGate: accepts tokens of our own issuer, in front of the check of their parent key.

Rules:
1. A new token costs one signature, and it comes last: shape, signing key, tag and claims are
   checked before it. So text that we did not make costs none.
2. Signatures are limited in rate and shared fairly by client address. Beyond the rate a new token
   is UNAVAILABLE; accepted ones go on.
3. An accepted token is recognised by its digest until it expires. No text of a token is kept.
4. A token counts only while its signing key does. The entries of the keys come with each heartbeat,
   so a removed key ends its tokens within the trust lease.
5. Nothing here waits, and nothing here allows: the record of the parent key is judged on each
   request.
6. As for keys, both clocks have to lead to a decision, ours and the store's. Else the token is
   UNAVAILABLE.
"""

from collections.abc import Mapping
from typing import Final

from authz.core.bounded import BoundedDict
from authz.core.decision import Deny, Reason
from authz.core.errors import Unreadable
from authz.core.events import Event
from authz.core.fair_budget import FairBudget
from authz.core.keys.pepper import Mac
from authz.core.ports import Clock, Probe
from authz.core.store_clock import StoreClock
from authz.core.tokens import text
from authz.core.tokens.presented import AcceptedToken, PresentedToken
from authz.core.tokens.rights import Expected, judge
from authz.core.tokens.signing_keys import SigningKeyEntries, ends
from authz.core.tokens.text import Claims, TokenParts
from authz.flows.tokens.ports import EntrySource, MakeVerify, Verify

MALFORMED: Final = Deny(Reason.MALFORMED)
FORGED: Final = Deny(Reason.FORGED)
EXPIRED: Final = Deny(Reason.TOKEN_EXPIRED)
UNAVAILABLE: Final = Deny(Reason.UNAVAILABLE)


class TokenGate:
    """Accepts tokens. source: the entries of signing keys, which `entries` reads.

    tags: MACs of the tag by pepper version. rate: signatures a second. max_entries: bound on
    accepted tokens that are remembered. store_clock: the store's clock; without it decisions go by
    our clock alone.
    """

    def __init__(
        self,
        source: EntrySource,
        entries: SigningKeyEntries,
        make_verify: MakeVerify,
        *,
        tags: Mapping[str, Mac],
        expected: Expected,
        clock: Clock,
        probe: Probe,
        rate: int,
        max_entries: int,
        store_clock: StoreClock | None = None,
    ) -> None:
        self._source = source
        self._entries = entries
        self._make_verify = make_verify
        self._tags = tags
        self._expected = expected
        self._wall_ms, self._monotonic = clock.wall_ms, clock.monotonic
        self._store_clock = store_clock or StoreClock(0.0)  # never measured: our clock decides
        self._probe = probe
        self._budget = FairBudget(rate)
        self._accepted: BoundedDict[bytes, AcceptedToken] = BoundedDict(max_entries)
        self._seen: Mapping[str, str] = {}
        # By header: id and public half of the key, and its verification.
        self._verifies: dict[bytes, tuple[str, Verify]] = {}
        self._until: dict[str, int | None] = {}  # by id and public half, in ms; None: no end

    def accept(self, presented: PresentedToken, address: str) -> AcceptedToken | Deny:
        """Return the accepted token, or the refusal. Never waits.

        address: the client's, whose share of the signatures a new token takes.
        """
        if self._source.signing is not self._seen:
            self._read_keys()
        digest = presented.digest()
        known = self._accepted.get(digest)
        if known is None:
            return self._examine(presented, digest, address, self._window())
        clock = self._store_clock
        latest = clock.latest
        if clock.earliest <= self._wall_ms() <= latest < known.expires_at:
            until = self._until.get(known.signed_by, 0)
            if until is None or latest < until:
                return known  # both clocks are far from any end, if the link is trusted
        return self.refuse(known) or known

    def refuse(self, token: AcceptedToken) -> Deny | None:
        """Return the refusal of an accepted token now, or None.

        Ask it before a decision without a trusted link: `accept` may go by the last heartbeat.
        """
        window = self._window()
        earliest, latest = window
        refusal = self._refuse_key(token.signed_by, window)
        if refusal is not None or latest < token.expires_at:
            return refusal
        return EXPIRED if earliest >= token.expires_at else UNAVAILABLE

    def _window(self) -> tuple[int, int]:
        """Return the earliest and the latest time that the clocks may show now, in ms."""
        return self._store_clock.window(self._wall_ms(), self._monotonic())

    def _examine(
        self, presented: PresentedToken, digest: bytes, address: str, window: tuple[int, int]
    ) -> AcceptedToken | Deny:
        parts = text.split(presented.reveal())
        if parts is None:
            return MALFORMED
        name, verify = self._verifies.get(parts.header, ("", None))
        if verify is None:
            return self._unknown_key()
        refusal = self._refuse_key(name, window) or self._refuse_tag(parts)
        if refusal is not None:
            return refusal
        claims, signature = text.parse_claims(parts.claims), parts.signature()
        if claims is None or signature is None:
            return MALFORMED
        refusal = self._refuse_claims(claims, window)
        if refusal is not None:
            return refusal
        if not self._budget.take(address, self._monotonic()):
            self._probe.count(Event.TOKEN_LIMITED)
            return UNAVAILABLE
        self._probe.count(Event.TOKEN_SIGNATURE)
        if not verify(parts.signed, signature):
            return FORGED
        accepted = AcceptedToken(
            claims.token_id,
            claims.kid,
            claims.secret_id,
            claims.scopes,
            claims.expires_at * 1000,
            name,
        )
        self._accepted.put(digest, accepted)
        return accepted

    def _refuse_tag(self, parts: TokenParts) -> Deny | None:
        """Return None for a right tag, UNAVAILABLE if we lack its pepper, else FORGED."""
        found = text.is_ours(parts, self._tags)
        if found is None:
            return UNAVAILABLE
        return None if found else FORGED

    def _unknown_key(self) -> Deny:
        """Return the refusal of a token whose signing key we do not have.

        UNAVAILABLE while the link to the store is not trusted: the key may be there by now.
        """
        return FORGED if self._source.is_current else UNAVAILABLE

    def _refuse_key(self, name: str, window: tuple[int, int]) -> Deny | None:
        """Return None for a signing key that counts at both ends of the window."""
        until = self._until.get(name, 0)
        if until is None or window[1] < until:
            return None
        return self._unknown_key() if window[0] >= until else UNAVAILABLE

    def _refuse_claims(self, claims: Claims, window: tuple[int, int]) -> Deny | None:
        """Return the refusal at both ends of the window, UNAVAILABLE if they differ, or None."""
        earliest, latest = window
        reason = judge(claims, self._expected, earliest)
        if latest > earliest and judge(claims, self._expected, latest) != reason:
            return UNAVAILABLE
        return None if reason is None else Deny(reason)

    def _read_keys(self) -> None:
        """Take over the entries of the source. An entry that cannot be read counts for nothing."""
        self._seen = self._source.signing
        keys = self._entries.read_all(self._seen)
        until = ends(keys)
        self._verifies, self._until = {}, {}
        for key in keys:
            try:
                verify = self._make_verify(key.x, key.y)
            except Unreadable:
                continue
            name = f"{key.key_id}{key.x.hex()}"  # another key may get the id of a removed one
            self._verifies[text.header_text(key.key_id).encode()] = name, verify
            self._until[name] = until.get(key.key_id)
