"""Provider: identifies callers by bearer tokens of one OpenID Connect issuer."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authz.core import bearer_token
from authz.core.access import Binding, Caller, Kind, Refusal, RefusalKind, is_subject
from authz.core.bearer_token import Expected, refused
from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.identity.signing_keys import SigningKeys

log = logging.getLogger("authz.identity")


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The meaning of claims. granted: the binding of each name that `roles_claim` may have."""

    subject_claim: str
    roles_claim: str
    granted: Mapping[str, Binding]


class Provider:
    """One issuer: its keys, the claims that its tokens must have, and their meaning."""

    def __init__(
        self, keys: SigningKeys, expected: Expected, rules: ClaimRules, clock: Clock
    ) -> None:
        self._keys = keys
        self._expected = expected
        self._rules = rules
        self._clock = clock

    async def identify(self, text: str) -> Caller | Refusal:
        """Return the caller that a token names, with the roles of its claims, or the refusal.

        A caller without a known role is returned too; it may do nothing. See `claims_of`.
        """
        claims = await self.claims_of(text)
        if isinstance(claims, Refusal):
            return claims
        granted = bearer_token.bindings(claims, self._rules.roles_claim, self._rules.granted)
        return Caller(self.subject_of(claims), Kind.OIDC, granted)

    async def claims_of(self, text: str) -> Mapping[str, Any] | Refusal:
        """Return the claims of a token with a usable subject, or the refusal.

        Issuer, audience and times are checked before the signature: a token that is refused for
        them costs no signature. The subject is checked after it. The refusal is UNAVAILABLE if the
        signing keys are unknown, which is logged. May wait for a fetch of them.
        """
        token = bearer_token.parse(text)
        if isinstance(token, Refusal):
            return token
        refusal = bearer_token.judge(token.claims, self._expected, self._clock.wall_ms())
        if refusal is not None:
            return refusal
        try:
            keys = await self._keys.find(token.algorithm, token.key_id)
        except Unavailable as cause:
            log.warning("a token could not be checked: %s", cause)
            return Refusal(RefusalKind.UNAVAILABLE, "token: the signing keys are unknown")
        if not any(key.verifies(token.text, token.algorithm) for key in keys):
            return refused("token: no key of the issuer signed it")
        if not is_subject(self.subject_of(token.claims)):
            return refused("token: its subject cannot be used")
        return token.claims

    def subject_of(self, claims: Mapping[str, Any]) -> str:
        """Return the subject of claims; empty if they have none that is a text."""
        found = claims.get(self._rules.subject_claim)
        return found if isinstance(found, str) else ""

    def roles_of(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names in the roles claim that have a binding, in the order of the settings."""
        held = set(bearer_token.names(claims, self._rules.roles_claim))
        return tuple(name for name in self._rules.granted if name in held)

    async def close(self) -> None:
        """Cancel the running fetch of keys, if any, and wait for its end."""
        await self._keys.close()
