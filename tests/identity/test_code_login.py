"""Login at an identity provider: the code flow with PKCE, and each response that is refused."""

import asyncio
import base64
import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from authz.core.access import Binding, Refusal, RefusalKind
from authz.core.bearer_token import Expected
from authz.core.console_session import ProvedSubject
from authz.core.errors import Unavailable
from authz.core.login_attempt import LoginAttempt
from authz.core.roles import Role
from authz.identity.code_login import PAUSE_SECONDS, CodeLogin, LoginClient
from authz.identity.provider import ClaimRules, Provider
from authz.identity.signing_keys import SigningKeys
from authz.process.web_client import WebClient
from tests.support.fakes import FakeClock
from tests.support.identity.issuer import Issuer, challenge_of, serving
from tests.support.real import RealClock

CALLBACK = "https://console.example.com/login/callback"
CLOCK = RealClock()
SECRET = "s3cret/+:x"
GRANTED = {"platform": Binding(Role.ADMIN), "acme": Binding(Role.VIEWER)}


@pytest.fixture
def issuer():
    """An issuer on loopback."""
    with serving(Issuer()) as running:
        yield running


def login_at(issuer, secret=SECRET, clock=CLOCK):
    """Return the login of a client that is registered at the issuer."""
    rules = ClaimRules("sub", "groups", GRANTED)
    tokens = Provider(
        SigningKeys(issuer.fetch, CLOCK, 3600.0), Expected(issuer.url, "console"), rules, CLOCK
    )
    client = LoginClient(issuer.url, "console", secret, ("openid", "email"))
    return CodeLogin(WebClient(), client, tokens, clock)


def attempt():
    """Return a new attempt."""
    return LoginAttempt.new(CALLBACK, "/", CLOCK.wall_ms())


async def response_to(issuer, login, began):
    """Send a browser to the issuer. Return the query of its response."""
    asked = urlsplit(await login.address(began)).query
    back = issuer.authorize({name: value[0] for name, value in parse_qs(asked).items()})
    assert back.startswith(f"{CALLBACK}?")
    return {name: value[0] for name, value in parse_qs(urlsplit(back).query).items()}


def why(found):
    """Return the reason of a refusal."""
    assert isinstance(found, Refusal), found
    assert found.kind is RefusalKind.UNAUTHENTICATED
    return found.why


async def test_the_request_to_the_provider(issuer):
    """The browser brings client, redirect, state, nonce and the S256 challenge; no verifier."""
    began = attempt()
    address = await login_at(issuer).address(began)
    assert address.startswith(f"{issuer.url}/authorize?")
    assert {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()} == {
        "response_type": "code",
        "client_id": "console",
        "redirect_uri": CALLBACK,
        "scope": "openid email",
        "state": began.state,
        "nonce": began.nonce,
        "code_challenge": challenge_of(began.verifier),
        "code_challenge_method": "S256",
    }
    assert began.verifier not in address


async def test_a_login(issuer):
    """The subject comes with the roles of its claims that the settings know, in their order."""
    issuer.login = {"sub": "alice", "groups": ["others", "acme", "platform"], "email": "a@x.org"}
    login, began = login_at(issuer), attempt()
    found = await login.complete(began, await response_to(issuer, login, began))
    assert found == ProvedSubject("alice", ("platform", "acme"), "a@x.org")


@pytest.mark.parametrize(
    ("methods", "secret", "where"),
    [
        (None, SECRET, "header"),
        (["client_secret_basic"], SECRET, "header"),
        (["client_secret_post"], SECRET, "form"),
        (["client_secret_basic"], "", "nowhere"),
    ],
)
async def test_the_client_proves_itself(issuer, methods, secret, where):
    """The secret goes into the header (RFC 6749, 2.3.1), or into the form if only that is taken."""
    if methods:
        issuer.metadata["token_endpoint_auth_methods_supported"] = methods
    login, began = login_at(issuer, secret), attempt()
    found = await login.complete(began, await response_to(issuer, login, began))
    assert isinstance(found, ProvedSubject)
    ((form, authorization),) = issuer.posts
    assert form["grant_type"] == "authorization_code"
    if where == "header":
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        assert pair == "console:s3cret%2F%2B%3Ax"
        assert "client_secret" not in form
    else:
        assert authorization == ""
        assert form["client_id"] == "console"
        assert form.get("client_secret", "") == (secret if where == "form" else "")


async def test_responses_that_are_refused(issuer):
    """A wrong state, a wrong issuer, an error or no code: no request to the provider."""
    login, began = login_at(issuer), attempt()
    good = await response_to(issuer, login, began)
    issuer.hits.clear()
    assert "state" in why(await login.complete(began, good | {"state": "x"}))
    assert "state" in why(await login.complete(began, {"code": good["code"]}))
    assert "state" in why(await login.complete(attempt(), good))
    other = good | {"iss": "https://evil.example.com"}
    assert "issuer" in why(await login.complete(began, other))
    denied = {"error": "access_denied", "state": good["state"]}
    assert "refused" in why(await login.complete(began, denied))
    assert "refused" in why(await login.complete(began, good | {"code": ""}))
    assert "refused" in why(await login.complete(began, good | {"code": "x" * 3000}))
    assert issuer.hits == []


async def test_an_issuer_that_promises_to_name_itself(issuer):
    """A provider that always sends `iss` is not believed without it (RFC 9207 section 2.4)."""
    issuer.metadata["authorization_response_iss_parameter_supported"] = True
    login, began = login_at(issuer), attempt()
    good = await response_to(issuer, login, began)
    without = {name: value for name, value in good.items() if name != "iss"}
    assert "issuer" in why(await login.complete(began, without))
    assert isinstance(await login.complete(began, good), ProvedSubject)


async def test_codes_that_the_provider_refuses(issuer):
    """A code works once, and only with the verifier that its challenge was made from."""
    login, began = login_at(issuer), attempt()
    good = await response_to(issuer, login, began)
    other = replace(began, verifier="v" * 43)
    assert "did not take" in why(await login.complete(other, good))
    again = await response_to(issuer, login, began)
    assert isinstance(await login.complete(began, again), ProvedSubject)
    assert "did not take" in why(await login.complete(began, again))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "authz"}, "audience"),
        ({"iss": "https://evil.example.com"}, "issuer"),
        ({"exp": 1}, "expired"),
        ({"sub": ""}, "subject"),
        ({"sub": "two words"}, "subject"),
        ({"aud": ["console", "other"], "azp": "other"}, "another client"),
    ],
)
async def test_id_tokens_that_are_refused(issuer, claims, reason):
    """Nonce, audience, issuer, time, subject and authorized party are all checked."""
    issuer.login |= claims
    login, began = login_at(issuer), attempt()
    assert reason in why(await login.complete(began, await response_to(issuer, login, began)))


async def test_an_id_token_of_a_stranger(issuer):
    """An ID token that the issuer's keys did not sign is refused."""
    login, began = login_at(issuer), attempt()
    good, stranger = await response_to(issuer, login, began), Issuer(issuer.url)
    stranger.codes = issuer.codes
    issuer.redeem = stranger.redeem
    assert "signed" in why(await login.complete(began, good))


@pytest.mark.parametrize("answer", [b"[]", b"x", b'{"id_token": 1}', b"{}"])
async def test_garbled_answers_to_a_code(issuer, answer):
    """An answer without an ID token logs nobody in."""
    login, began = login_at(issuer), attempt()
    good = await response_to(issuer, login, began)
    found = json.loads(answer) if answer != b"x" else "x"
    issuer.redeem = lambda _form, _header: (200, found)
    assert isinstance(await login.complete(began, good), Refusal)


async def test_a_provider_that_is_down(issuer):
    """Without the provider nobody can log in, and that is told apart from a refusal."""
    login, began = login_at(issuer), attempt()
    good = await response_to(issuer, login, began)
    issuer.metadata["token_endpoint"] = "http://127.0.0.1:1/token"
    found = await login_at(issuer).complete(began, good)
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAVAILABLE
    issuer.down = True
    with pytest.raises(Unavailable):
        await login_at(issuer).address(began)


async def test_visitors_while_the_provider_is_down(issuer):
    """Many visitors cause one request, and the next one comes after a pause."""
    clock = FakeClock()
    login, issuer.down = login_at(issuer, clock=clock), True
    for hits in (1, 2):
        visits = [login.address(attempt()) for _ in range(8)]
        found = await asyncio.gather(*visits, return_exceptions=True)
        assert [type(one) for one in found] == [Unavailable] * 8
        assert len(issuer.hits) == hits
        clock.advance(PAUSE_SECONDS)
    issuer.down = False
    assert await login.address(attempt())


async def test_metadata_that_cannot_be_used(issuer):
    """An endpoint that is neither https nor loopback is not used: the code would be readable."""
    issuer.metadata["authorization_endpoint"] = "http://idp.example.com/authorize"
    with pytest.raises(Unavailable, match="https"):
        await login_at(issuer).address(attempt())
