"""Answers to tokens: the identity of the key, and the rights of the token."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Allow, Deny, Reason, StaleAllow
from authz.core.records import Secret
from authz.core.request import Route
from authz.core.tokens.presented import AcceptedToken
from authz.rpc.check.strip import Strip
from tests.support.fakes import KID, NOW, make_record, make_request
from tests.support.rpc.answers import IDENTITY, headers_of, responder

RECORD = make_record(scopes=frozenset({"a:*", "b"}))


def token(name="one", scopes=("a:r",), of_secret="1"):  # noqa: S107  an id
    """Return an accepted token of the key RECORD."""
    return AcceptedToken(name, KID, of_secret, frozenset(scopes), NOW + 1000, "k")


def answers(decision=None, *, key=RECORD, write=None, **request):
    """Return the parsed answer to a request."""
    writing = write or responder().write
    return CheckResponse.FromString(writing(decision or Allow(key), make_request(**request)))


@pytest.mark.parametrize("kind", [Allow, StaleAllow])
def test_the_backend_gets_the_rights_of_the_token(kind):
    """The scopes are those that both hold, and the id is that of the token."""
    ok = answers(kind(RECORD), token=token()).ok_response
    headers = headers_of(ok)

    assert headers["x-auth-scopes"] == "a:r"
    assert headers["x-auth-token-id"] == "one"
    assert headers["x-auth-key-id"] == KID
    shown = set(headers) | set(ok.headers_to_remove)
    assert {f"x-auth-{name}" for name in IDENTITY} <= shown
    assert not set(headers) & set(ok.headers_to_remove)


def test_a_token_without_a_common_scope_removes_the_header():
    """A header of the client never stands in for scopes that there are none of."""
    ok = answers(token=token(scopes=("c",))).ok_response

    assert "x-auth-scopes" not in headers_of(ok)
    assert "x-auth-scopes" in ok.headers_to_remove


def test_answers_of_one_key_do_not_mix():
    """Key and tokens in turn get each their own headers, also after the record has changed."""
    write = responder().write
    narrowed = make_record(scopes=frozenset({"b"}))
    cases = [
        (RECORD, None, "a:* b"),
        (RECORD, token(), "a:r"),
        (RECORD, token("two", ("b", "c")), "b"),
        (narrowed, token(), None),
        (narrowed, token("two", ("b", "c")), "b"),
        (narrowed, None, "b"),
    ]
    for key, given, scopes in [*cases, *reversed(cases), *cases]:
        headers = headers_of(answers(key=key, write=write, token=given).ok_response)
        assert headers.get("x-auth-scopes") == scopes
        assert headers.get("x-auth-token-id") == (given.id if given else None)


def test_the_metadata_name_the_exchanged_secret():
    """With two secrets the usage record has the one that the token was exchanged for."""
    second = Secret("2", bytes(range(32, 64)), "1", NOW)
    record = make_record(secrets=(RECORD.newest_secret, second))
    for secret_id in ("1", "2"):
        found = answers(key=record, token=token(of_secret=secret_id)).dynamic_metadata
        assert found["secret_id"] == secret_id


def test_a_reported_refusal_has_the_rights_of_the_token():
    """On a route that does not enforce, a proven token is identified as on an allow."""
    route = Route(enforce=False)
    refusal = Deny(Reason.INSUFFICIENT_SCOPE, RECORD)
    write = responder(find_keys=lambda _request: Strip()).write
    ok = answers(refusal, write=write, route=route, token=token()).ok_response
    assert headers_of(ok)["x-auth-token-id"] == "one"
    assert headers_of(ok)["x-auth-scopes"] == "a:r"

    unproven = answers(
        Deny(Reason.WRONG_SECRET), write=write, route=route, token=token()
    ).ok_response
    assert {"x-auth-token-id", "x-auth-scopes"} <= set(unproven.headers_to_remove)
