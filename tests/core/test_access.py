"""Roles, bindings and the actions that they allow."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core import access
from authz.core.access import (
    Binding,
    Caller,
    Kind,
    bindings_of_key,
    may,
    may_own,
    roles_of,
    visible,
)
from authz.core.roles import ALLOWED, READING, UNBOUND, Action, OwnAction, Role

IDS: Final = ("", "acme", "globex")
SETS: Final = st.frozensets(st.sampled_from(["acme", "globex", "initech"]), max_size=2)
BINDINGS: Final = st.builds(Binding, st.sampled_from(Role), SETS, SETS)
SCOPES: Final = st.frozensets(st.sampled_from(["a:b", "*", "authz:*", *(r.scope for r in Role)]))


def caller(*bindings: Binding) -> Caller:
    """Return an operator with these bindings."""
    return Caller("alice", Kind.OIDC, bindings)


def allowed(who: Caller) -> set[tuple[object, ...]]:
    """Return every question that is answered with yes: action, tenant, project, scopes."""
    return {
        (action, tenant, project, scopes)
        for action in Action
        for tenant in IDS
        for project in IDS
        for scopes in ((), ("a:b",), ("authz:viewer",), ("authz:admin", "a:b"))
        if may(who, action, tenant, project, scopes=scopes)
    }


def test_a_caller_without_bindings_may_do_nothing():
    """A holder has no binding, so no action of the API is allowed, and nothing is visible."""
    holder = Caller("kid", Kind.HOLDER, kid="7Hk2mQ9xT4bVzR1c", own_actions=frozenset(OwnAction))
    assert not allowed(holder)
    assert all(visible(holder, action).is_empty for action in Action)


@settings(max_examples=50)
@given(BINDINGS, SETS, SETS)
def test_a_narrower_binding_never_allows_more(wide: Binding, tenants, projects):
    """A part of the tenants and projects allows a part of the actions."""
    narrow = Binding(
        wide.role,
        (wide.tenants & tenants) or wide.tenants or tenants,
        (wide.projects & projects) or wide.projects or projects,
    )
    assert narrow.is_within(wide)
    assert allowed(caller(narrow)) <= allowed(caller(wide))


@settings(max_examples=50)
@given(BINDINGS, BINDINGS)
def test_a_binding_within_another_never_allows_more(one: Binding, other: Binding):
    """`is_within` agrees with `may`, except that only an admin may manage keys of this API."""
    if one.is_within(other):
        assert allowed(caller(one)) <= allowed(caller(other))
        for action in Action:
            narrow, wide = visible(caller(one), action), visible(caller(other), action)
            assert {t for t in IDS if narrow.covers(t, "acme")} <= {
                t for t in IDS if wide.covers(t, "acme")
            }


@settings(max_examples=50)
@given(BINDINGS, BINDINGS)
def test_two_bindings_allow_the_union(one: Binding, other: Binding):
    """A second binding takes nothing away, and adds only its own actions to plain keys."""
    both = {q for q in allowed(caller(one, other)) if not roles_of(q[3])}
    each = allowed(caller(one)) | allowed(caller(other))
    assert both == {q for q in each if not roles_of(q[3])}


@given(st.lists(BINDINGS, max_size=3), st.sampled_from(Action))
def test_visible_agrees_with_may(bindings, action):
    """A list shows exactly the keys that a single read would show."""
    who = caller(*bindings)
    seen = visible(who, action)
    for tenant in IDS:
        for project in IDS:
            expected = may(who, action, tenant, project)
            if action in UNBOUND:
                assert seen.is_everything == expected
            else:
                assert seen.covers(tenant, project) == expected
    if seen.tenants is not None:
        assert not any(seen.covers(t, p) for t in IDS if t not in seen.tenants for p in IDS)


@settings(max_examples=50)
@given(BINDINGS, SCOPES, st.sampled_from(IDS), st.sampled_from(IDS))
def test_nobody_can_make_a_key_that_may_do_more(binding: Binding, scopes, tenant, project):
    """A key that a caller may create or rotate allows nothing that the caller is not allowed."""
    who = caller(binding)
    key = Caller("kid", Kind.KEY, bindings_of_key(scopes, tenant, project))
    for action in (Action.CREATE, Action.ROTATE, Action.UPDATE, Action.ENABLE, Action.IMPORT):
        if may(who, action, tenant, project, scopes=scopes):
            assert allowed(key) <= allowed(who)


def test_an_issuer_cannot_touch_a_credential_of_the_api():
    """An issuer manages ordinary keys of its tenant, and may only read an admin's key."""
    issuer = caller(Binding(Role.ISSUER, frozenset({"acme"})))
    assert may(issuer, Action.ROTATE, "acme", scopes=("models:*",))
    for action in Action:
        if action not in READING:
            assert not may(issuer, action, "acme", scopes=("models:*", "authz:viewer"))
    assert may(issuer, Action.READ_KEYS, "acme", scopes=("authz:admin",))


def test_a_bound_admin_makes_bound_admins_only():
    """A key without a tenant would be unbound, so an admin of a tenant cannot make one."""
    admin = caller(Binding(Role.ADMIN, frozenset({"acme"})))
    assert may(admin, Action.CREATE, "acme", scopes=("authz:admin",))
    assert may(admin, Action.CREATE, "acme", "web", scopes=("authz:auditor",))
    assert not may(admin, Action.CREATE, "", scopes=("authz:admin",))
    assert not may(admin, Action.CREATE, "globex", scopes=("authz:viewer",))


@pytest.mark.parametrize("action", sorted(UNBOUND))
def test_actions_on_the_installation_need_an_unbound_role(action: Action):
    """A binding with a tenant does not allow an action that concerns everybody."""
    assert may(caller(Binding(Role.ADMIN)), action)
    assert not may(caller(Binding(Role.ADMIN, frozenset({"acme"}))), action, "acme")
    assert not may(caller(Binding(Role.ADMIN, projects=frozenset({"web"}))), action, "", "web")


@pytest.mark.parametrize("scope", ["*", "authz:*", "authz:", "authz:admin:*", "AUTHZ:admin"])
def test_a_wildcard_gives_no_role(scope: str):
    """Only the exact scope of a role counts; a key for all routes is no admin."""
    assert not roles_of([scope])
    assert not bindings_of_key([scope], "", "")


def test_each_role_allows_what_a_viewer_reads():
    """Every role reads keys, limits and usage; only an admin does everything."""
    for role in Role:
        assert ALLOWED[role] >= {Action.READ_KEYS, Action.READ_LIMITS, Action.READ_USAGE}
    assert [role for role in Role if ALLOWED[role] == set(Action)] == [Role.ADMIN]


def test_own_actions_need_a_key():
    """A caller without a key has no own actions, whatever the settings allow."""
    own = frozenset({OwnAction.READ})
    assert may_own(Caller("k", Kind.HOLDER, kid="k", own_actions=own), OwnAction.READ)
    assert not may_own(Caller("k", Kind.HOLDER, kid="k", own_actions=own), OwnAction.ROTATE)
    assert not may_own(Caller("alice", Kind.OIDC, own_actions=own), OwnAction.READ)


@pytest.mark.parametrize(
    ("text", "good"),
    [("alice@example.com", True), ("", False), ("a b", False), ("é", False), ("x" * 201, False)],
)
def test_a_subject_is_short_and_printable(text: str, good: bool):
    """A subject goes into the audit trail, so it is ASCII without blanks."""
    assert access.is_subject(text) is good


def test_credentials_hide_the_authorization():
    """The text of a credential does not get into a log by accident."""
    shown = repr(access.Credentials(("Bearer secret-text",), peer="127.0.0.1"))
    assert "secret-text" not in shown
