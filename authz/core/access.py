"""Access to administration: callers, and what each may do. The roles are in roles.py.

Rules that hold for every caller:

1. No binding grants anything outside its tenants and projects. Several bindings grant the union.
2. A key with a scope of this API is a credential of this API. Only an admin whose binding covers
   the key may create or change it, also by a rotation, which would reveal its secret.
3. A holder (a key without such a scope) may do nothing but its own actions, on its own key.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from authz.core.roles import ALLOWED, READING, UNBOUND, Action, OwnAction, Role

MAX_SUBJECT: Final = 200  # characters
API_HOST: Final = "admin.authz.invalid"
"""The host of this API, for keys that are bound to hosts. No proxy has such a host (RFC 2606)."""

_SUBJECT: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
_ROLES: Final = {role.scope: role for role in Role}


@dataclass(frozen=True, slots=True)
class Binding:
    """A role within tenants and projects. An empty set means every one, and keys without one."""

    role: Role
    tenants: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()

    @property
    def is_unbound(self) -> bool:
        """Whether the binding covers the whole installation."""
        return not (self.tenants or self.projects)

    def covers(self, tenant: str, project: str) -> bool:
        """Return whether a key of this tenant and project is inside. Empty ids: it has none."""
        return (not self.tenants or tenant in self.tenants) and (
            not self.projects or project in self.projects
        )

    def is_within(self, wider: "Binding") -> bool:
        """Return whether `wider` allows everything that this binding allows."""
        return (
            ALLOWED[self.role] <= ALLOWED[wider.role]
            and _is_part(self.tenants, wider.tenants)
            and _is_part(self.projects, wider.projects)
        )


class Kind(StrEnum):
    """The kind of a credential."""

    OIDC = "oidc"
    CERTIFICATE = "cert"
    KEY = "key"  # one of our keys, with a scope of this API
    HOLDER = "holder"  # one of our keys, without such a scope


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    subject: printable ASCII without blanks, 1 to MAX_SUBJECT (200) characters: the subject of the
    token, the URI of the certificate, or the kid. kid: of the key that was presented, else empty.
    own_actions: what the caller may do with the key that it presented.
    """

    subject: str
    kind: Kind
    bindings: tuple[Binding, ...] = ()
    kid: str = ""
    own_actions: frozenset[OwnAction] = field(default=frozenset())

    @property
    def actor(self) -> str:
        """The author of this caller's changes in the audit trail, such as `oidc:alice`."""
        return f"{self.kind.value}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of one request, as they came.

    authorization: the values of all `authorization` headers. certificate_uris: the URIs of the
    verified client certificate's subject alternative names. peer: the IP address of the connection,
    empty for a Unix socket. user_agent: for the audit trail; it proves nothing.
    """

    authorization: tuple[str, ...] = field(default=(), repr=False)
    certificate_uris: tuple[str, ...] = ()
    peer: str = ""
    user_agent: str = ""


class RefusalKind(StrEnum):
    """The two refusals that a caller can tell apart."""

    UNAUTHENTICATED = "unauthenticated"  # 401
    UNAVAILABLE = "unavailable"  # 503: whether the credential is good is unknown


@dataclass(frozen=True, slots=True)
class Refusal:
    """The credentials were refused. `why` is for the log, and never for the caller.

    It is a fixed text of ours: it holds nothing that the caller sent.
    """

    kind: RefusalKind
    why: str


def is_subject(text: str) -> bool:
    """Return whether `text` may be the subject of a Caller."""
    return _SUBJECT.fullmatch(text) is not None


def roles_of(scopes: Iterable[str]) -> frozenset[Role]:
    """Return the roles that these scopes of a key give. Only the exact scopes count, no wildcard.

    A key with `*` for the routes of a backend is no credential of this API.
    """
    return frozenset(_ROLES[scope] for scope in scopes if scope in _ROLES)


def bindings_of_key(scopes: Iterable[str], tenant: str, project: str) -> tuple[Binding, ...]:
    """Return the bindings of one of our keys: its roles, within its own tenant and project.

    tenant, project: of the key; empty: it has none, and the bindings are not limited to one.
    """
    tenants = frozenset({tenant} if tenant else ())
    projects = frozenset({project} if project else ())
    return tuple(Binding(role, tenants, projects) for role in sorted(roles_of(scopes)))


def may(
    caller: Caller,
    action: Action,
    tenant: str = "",
    project: str = "",
    *,
    scopes: Collection[str] = (),
) -> bool:
    """Return whether the caller may take an action on a key of this tenant and project.

    scopes: of the key. If it is a credential of this API (rule 2 above), a change needs a role that
    may manage such a key. For a change of tenant, project or scopes, ask for the key before and for
    the key after. An action of UNBOUND needs a binding that is unbound; the key does not matter.
    """
    granting = [one for one in caller.bindings if action in ALLOWED[one.role]]
    if action in UNBOUND:
        return any(one.is_unbound for one in granting)
    if action not in READING and roles_of(scopes):
        key = bindings_of_key(scopes, tenant, project)
        return all(_may_manage(caller, action, one) for one in key)
    return any(one.covers(tenant, project) for one in granting)


def may_own(caller: Caller, action: OwnAction) -> bool:
    """Return whether the caller may take an action on the key that it presented."""
    return bool(caller.kid) and action in caller.own_actions


@dataclass(frozen=True, slots=True)
class Visible:
    """The keys on which a caller may take an action. `bindings`: all of them grant it."""

    bindings: tuple[Binding, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the caller may not take the action on any key."""
        return not self.bindings

    @property
    def is_everything(self) -> bool:
        """Whether every key is visible."""
        return any(one.is_unbound for one in self.bindings)

    @property
    def tenants(self) -> frozenset[str] | None:
        """The tenants that can have a visible key; None: every tenant, and keys without one.

        Empty if no key is visible.
        """
        if any(not one.tenants for one in self.bindings):
            return None
        return frozenset().union(*(one.tenants for one in self.bindings))

    def covers(self, tenant: str, project: str) -> bool:
        """Return whether a key of this tenant and project is visible. Empty ids: it has none."""
        return any(one.covers(tenant, project) for one in self.bindings)


def visible(caller: Caller, action: Action) -> Visible:
    """Return the keys on which a caller may take an action, for lists, counts and streams.

    For an action of UNBOUND only unbound bindings count. Nothing outside may be shown, counted or
    hinted at: a key outside is answered like no key.
    """
    granting = (one for one in caller.bindings if action in ALLOWED[one.role])
    return Visible(tuple(one for one in granting if one.is_unbound or action not in UNBOUND))


def _may_manage(caller: Caller, action: Action, key: Binding) -> bool:
    """Return whether an ADMIN binding of the caller allows `action` and all that `key` allows."""
    admins = (one for one in caller.bindings if one.role is Role.ADMIN)
    return any(action in ALLOWED[one.role] and key.is_within(one) for one in admins)


def _is_part(narrow: frozenset[str], wide: frozenset[str]) -> bool:
    return not wide or (bool(narrow) and narrow <= wide)
