"""LoginAttempt: the secrets of one login at an identity provider, until its response arrives."""

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from typing import Final

ATTEMPT_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """An attempt. Only the browser that began it keeps it, sealed.

    redirect_uri: where the response arrives. next: the path to go to afterwards. ends_at:
    milliseconds since the epoch.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str
    next: str
    ends_at: int

    @classmethod
    def new(cls, redirect_uri: str, next_path: str, now: int) -> "LoginAttempt":
        """Return an attempt of ATTEMPT_MS (10 min) from `now`, with new secrets of 256 bits."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, redirect_uri, next_path, now + ATTEMPT_MS)

    @property
    def challenge(self) -> str:
        """The S256 challenge of the verifier (RFC 7636 section 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return urlsafe_b64encode(digest).decode().rstrip("=")

    def text(self) -> str:
        """Return the attempt as text, to be sealed."""
        return json.dumps(asdict(self), separators=(",", ":"))


def read_attempt(text: str) -> LoginAttempt | None:
    """Return the attempt of a text that was sealed; None if another version wrote it."""
    try:
        return LoginAttempt(**json.loads(text))
    except (ValueError, TypeError):
        return None
