"""TokenInspection: whether a sidecar would accept a token, and the state of its key."""

from dataclasses import dataclass

from authz.core.admin_ports import KeyStore
from authz.core.decision import Deny, Reason
from authz.core.records import KeyRecord
from authz.core.tokens.presented import PresentedToken
from authz.flows.tokens.gate import TokenGate


@dataclass(frozen=True, slots=True)
class Inspected:
    """The result of an inspection. reason: why the token is not accepted, or None.

    kid: of an accepted token; else empty. record: of its key; None if there is none. has_secret:
    the secret that was exchanged still works.
    """

    reason: Reason | None
    kid: str = ""
    record: KeyRecord | None = None
    has_secret: bool = False


class TokenInspection:
    """Inspects tokens. Routes, addresses and limits are not judged."""

    def __init__(self, gate: TokenGate, keys: KeyStore) -> None:
        self._gate = gate
        self._keys = keys

    async def inspect(self, token: str) -> Inspected:
        """Return the result. Raises Unavailable if the store fails."""
        found = self._gate.accept(PresentedToken(token), "")
        if isinstance(found, Deny):
            return Inspected(found.reason)
        record = await self._keys.find(found.kid)
        has_secret = record is not None and bool(found.proof(record).digest())
        return Inspected(None, found.kid, record, has_secret)
