"""ConsoleSession: the session of one browser, as its sealed cookie holds it. No server state.

A session never holds a key: it names the kid and the secret that opened it. Times are milliseconds
since the epoch.
"""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Final

MAX_ROLES: Final = 64
RENEWED_AFTER: Final = 60_000  # ms without a new cookie


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """Bounds on a session, in milliseconds. idle: without a request. whole: since the login.

    claims: since the login of an identity provider, whose claims are not read again.
    """

    idle: int
    whole: int
    claims: int


@dataclass(frozen=True, slots=True)
class ProvedSubject:
    """A subject that logged in at the identity provider.

    roles: the names in its claim that the settings know. label: for people; empty without one.
    """

    subject: str
    roles: tuple[str, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A session. It belongs to a key (kid and secret_id) or to a subject of the identity provider.

    id: random. ends_at: whatever is done with it. roles: the names in the subject's claim that the
    settings knew at the login. label: for the page header; it proves nothing.
    """

    id: str
    began_at: int
    seen_at: int
    ends_at: int
    label: str
    kid: str = ""
    secret_id: str = ""
    subject: str = ""
    roles: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """The author of changes in this session: `key:KID` or `oidc:SUBJECT`."""
        return f"key:{self.kid}" if self.kid else f"oidc:{self.subject}"

    @property
    def form_token(self) -> str:
        """The token of this session's forms. It does not reveal the id, which no page has."""
        return hashlib.sha256(f"authz console form\0{self.id}".encode()).hexdigest()

    @property
    def end_names(self) -> tuple[str, str]:
        """The names of this session and of all sessions of its actor, by which they are ended."""
        return _end_name("session", self.id), _end_name("actor", self.actor)

    def accepts_form(self, token: str) -> bool:
        """Return whether `token` is the form token of this session, in constant time."""
        return hmac.compare_digest(self.form_token.encode(), token.encode())

    def is_over(self, now: int, idle: int) -> bool:
        """Return whether the session has ended at `now`. idle: ms without a request that end it."""
        return now >= self.ends_at or now >= self.seen_at + idle

    def needs_renewal(self, now: int) -> bool:
        """Return whether `seen_at` is RENEWED_AFTER (60 s) old, so that a new cookie is due."""
        return now >= self.seen_at + RENEWED_AFTER

    def text(self) -> str:
        """Return the session as text, to be sealed."""
        return json.dumps(asdict(self), separators=(",", ":"))


def read_session(text: str) -> ConsoleSession | None:
    """Return the session of a text that was sealed; None if another version wrote it."""
    try:
        found = json.loads(text)
        return ConsoleSession(**found | {"roles": tuple(found["roles"])})
    except (ValueError, TypeError, KeyError):
        return None


def _end_name(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind}\0{name}".encode()).hexdigest()
