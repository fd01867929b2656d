"""ConsoleSessions: opens the sessions of the console, judges them at each request, and ends them.

A session gives no rights of its own. At each request a key is judged by its record, and the roles
of a subject by the settings. A session is over if its actor has ended all sessions since.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from authz.core.access import Binding, Caller, Kind, Refusal, RefusalKind
from authz.core.admin_ports import RequestStore, SessionEnds
from authz.core.bearer_token import refused
from authz.core.console_session import (
    MAX_ROLES,
    ConsoleSession,
    ProvedSubject,
    SessionTimes,
    read_session,
)
from authz.core.errors import Unavailable
from authz.core.login_link import LINK_MS, MAX_LINK, USE_LINK, LoginLink, read_link
from authz.core.ports import Clock
from authz.core.sealed_text import SealedTexts
from authz.flows.authentication import KeyIdentifier

USE: Final = "session"
MAX_SEALED: Final = (
    3800  # characters; browsers keep cookies of at most 4096 bytes, with name and options
)


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that is valid now. sealed: a new cookie for it; empty: the one that it has."""

    session: ConsoleSession
    caller: Caller
    sealed: str = ""


class ConsoleSessions:
    """The sessions of the console. granted: bindings by the role names of the identity provider.

    links: remembers login links that were used.
    """

    def __init__(
        self,
        seals: SealedTexts,
        keys: KeyIdentifier,
        *,
        granted: Mapping[str, Binding],
        ends: SessionEnds,
        links: RequestStore,
        clock: Clock,
        times: SessionTimes,
    ) -> None:
        self._seals = seals
        self._keys = keys
        self._granted = granted
        self._ends = ends
        self._links = links
        self._clock = clock
        self._times = times

    async def open_by_key(self, text: str, address: str) -> OpenSession | Refusal:
        """Open a session for a key with the scope of a role, or return its refusal."""
        proved = await self._keys.prove(text, address)
        if isinstance(proved, Refusal):
            return proved
        return self._opened_by_key(proved.caller, proved.secret_id)

    async def open_by_link(self, token: str, address: str) -> OpenSession | Refusal:
        """Open a session by a login link, once, or return its refusal.

        UNAVAILABLE if the store cannot tell whether the link was used. A link whose key is refused
        is not used up.
        """
        text = self._seals.open(token, USE_LINK, most=MAX_LINK)
        link = read_link(text) if text is not None else None
        if link is None:
            return refused("link: not one of ours")
        if self._clock.wall_ms() >= link.ends_at:
            return refused("link: too old")
        caller = await self._keys.resume(link.kid, link.secret_id, address)
        if isinstance(caller, Refusal):
            return caller
        name = hashlib.sha256(f"login link\0{link.id}".encode()).hexdigest()
        try:
            used = await self._links.remember(name, "used", LINK_MS * 2)
        except Unavailable:
            return Refusal(RefusalKind.UNAVAILABLE, "link: the store cannot be used")
        if used is not None:
            return refused("link: used before")
        return self._opened_by_key(caller, link.secret_id)

    def open_by_claims(self, who: ProvedSubject) -> OpenSession | Refusal:
        """Open a session for a subject of the identity provider, or refuse one without a role."""
        roles = who.roles[:MAX_ROLES]
        caller = Caller(who.subject, Kind.OIDC, self._bindings(roles))
        if not caller.bindings:
            return refused("subject: it has no role")
        new = self._new(self._times.claims, who.label or who.subject)
        return self._sealed(replace(new, subject=who.subject, roles=roles), caller)

    async def resume(self, sealed: str, address: str) -> OpenSession | Refusal:
        """Return the session of a cookie with the caller that it is now, or the refusal.

        UNAVAILABLE if the store cannot be read. A cookie older than RENEWED_AFTER (60 s) gets a new
        one, with the time of this request.
        """
        text = self._seals.open(sealed, USE, most=MAX_SEALED) if sealed else None
        session = read_session(text) if text is not None else None
        now = self._clock.wall_ms()
        if session is None or session.is_over(now, self._times.idle):
            return refused("session: none, or it is over")
        try:
            ended = await self._ends.ended(session.end_names)
        except Unavailable:
            return Refusal(RefusalKind.UNAVAILABLE, "session: the store cannot be read")
        if any(until is not None and session.began_at <= until for until in ended):
            return refused("session: it was ended")
        caller = await self._caller(session, address)
        if isinstance(caller, Refusal):
            return caller
        if session.needs_renewal(now):
            return self._sealed(replace(session, seen_at=now), caller)
        return OpenSession(session, caller)

    async def end(self, session: ConsoleSession, *, everywhere: bool = False) -> None:
        """End this session, or all sessions of its actor that began until now.

        This session ends also if the clock of the process that began it is ahead of ours. Raises
        Unavailable if the store does not confirm it: a copy of the cookie may still work.
        """
        this, all_of_actor = session.end_names
        name = all_of_actor if everywhere else this
        longest = max(self._times.whole, self._times.claims)
        until = max(self._clock.wall_ms(), session.began_at)
        await self._ends.end(name, until, longest)

    async def _caller(self, session: ConsoleSession, address: str) -> Caller | Refusal:
        if not session.kid:
            bindings = self._bindings(session.roles)
            if not bindings:
                return refused("subject: it has no role any more")
            return Caller(session.subject, Kind.OIDC, bindings)
        caller = await self._keys.resume(session.kid, session.secret_id, address)
        if isinstance(caller, Caller) and caller.kind is not Kind.KEY:
            return refused("key: it has no role any more")
        return caller

    def _opened_by_key(self, caller: Caller, secret_id: str) -> OpenSession | Refusal:
        if caller.kind is not Kind.KEY:
            return refused("key: it has no role")
        new = self._new(self._times.whole, caller.kid)
        return self._sealed(replace(new, kid=caller.kid, secret_id=secret_id), caller)

    def _new(self, life: int, label: str) -> ConsoleSession:
        now = self._clock.wall_ms()
        return ConsoleSession(secrets.token_urlsafe(16), now, now, now + life, label)

    def _sealed(self, session: ConsoleSession, caller: Caller) -> OpenSession | Refusal:
        sealed = self._seals.seal(session.text(), USE)
        if len(sealed) > MAX_SEALED:
            return refused("subject: its roles do not fit into a cookie")
        return OpenSession(session, caller, sealed)

    def _bindings(self, roles: Sequence[str]) -> tuple[Binding, ...]:
        held = set(roles)
        return tuple(dict.fromkeys(one for name, one in self._granted.items() if name in held))


def login_link(seals: SealedTexts, kid: str, secret_id: str, now: int) -> str:
    """Return the token of a new login link. It works once, for LINK_MS (10 min) from `now`.

    now: milliseconds since the epoch.
    """
    link = LoginLink(secrets.token_urlsafe(16), kid, secret_id, now + LINK_MS)
    return seals.seal(link.text(), USE_LINK)
