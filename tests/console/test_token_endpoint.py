"""The token endpoint: forms, headers, error codes (RFC 6749, 8693), key set and metadata."""

import json
from urllib.parse import urlencode

import pytest

from authz.console.token_endpoint import (
    ACCESS_TOKEN,
    API_KEY,
    GRANT,
    JWT,
    KEY_SET,
    MAX_FORM,
    METADATA,
    TOKEN,
    TokenEndpoint,
)
from authz.core.http_exchange import HttpRequest
from authz.core.tokens.rights import Expected
from authz.flows.tokens.exchange import Ask, ExchangeError, Refused
from authz.flows.tokens.issuing import Issued, Wish
from tests.support.fakes import make_keyring
from tests.support.tokens import AUDIENCE, ISSUER, claims, issue, signing_key

RING = make_keyring(issuer=ISSUER)
KEY = RING.mint("live").text
TOKEN_TEXT = issue(RING, claims())
FORM = {"grant_type": GRANT, "subject_token": KEY, "subject_token_type": API_KEY}
TYPE = ("content-type", "application/x-www-form-urlencoded")


class Exchanges:
    """An exchange that remembers what it was asked."""

    def __init__(self):
        self.asked: list[Ask] = []
        self.answer = Issued(claims(), TOKEN_TEXT)

    async def exchange(self, ask):
        """Implement Exchange.exchange."""
        self.asked.append(ask)
        return self.answer


class Rig:
    """An endpoint over an exchange that always gives the same."""

    def __init__(self):
        self.exchanges, self.notes, self.keys = Exchanges(), [], (signing_key(),)
        self.endpoint = TokenEndpoint(self.exchanges, ISSUER, lambda: self.keys, self.notes.append)

    async def post(self, form=FORM, *, headers=(TYPE,), method="POST", body=None):
        """Return status, document and headers of the answer to a form."""
        body = urlencode(form, doseq=True).encode() if body is None else body
        response = await self.endpoint.token(HttpRequest(method, TOKEN, (), headers, body))
        return response.status, json.loads(response.body), response.headers


@pytest.fixture
def rig():
    """Return a rig."""
    return Rig()


async def test_a_token_is_granted(rig):
    """The answer has the members of RFC 8693 section 2.2.1 and is not stored by anybody."""
    status, document, headers = await rig.post()

    assert status == 200
    assert document == {
        "access_token": TOKEN_TEXT,
        "issued_token_type": JWT,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "a:read",
    }
    assert headers["cache-control"] == "no-store"
    assert rig.exchanges.asked == [Ask(KEY, Wish())]


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ((), FORM),
        ((), FORM | {"subject_token_type": ACCESS_TOKEN}),
        ((("authorization", f"Bearer {KEY}"),), {"grant_type": GRANT}),
        ((("authorization", f"bearer {KEY}"),), {"grant_type": GRANT, "subject_token": ""}),
        ((("x-api-key", KEY),), {"grant_type": GRANT, "unknown": "ignored"}),
    ],
)
async def test_the_key_is_in_the_form_or_in_a_header(rig, headers, form):
    """The subject token may come in each of these places."""
    assert (await rig.post(form, headers=(TYPE, *headers)))[0] == 200
    assert [ask.subject for ask in rig.exchanges.asked] == [KEY]


async def test_wishes_and_origin_are_handed_on(rig):
    """Scope, audience and lifetime are parsed, and the Origin header belongs to the request."""
    form = FORM | {"scope": "a:read b:*", "audience": AUDIENCE, "lifetime": "60"}
    await rig.post(form, headers=(TYPE, ("origin", "https://app.example.com")))

    wish = Wish(frozenset({"a:read", "b:*"}), AUDIENCE, 60)
    assert rig.exchanges.asked == [Ask(KEY, wish, "https://app.example.com")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token_type": ""}, "invalid_request"),
        ({"subject_token_type": JWT}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"resource": "https://api.example.com"}, "invalid_target"),
        ({"scope": "a b\x00"}, "invalid_scope"),
        ({"scope": "a  b"}, "invalid_scope"),
        ({"scope": ["a", "b"]}, "invalid_request"),
        ({"grant_type": [GRANT, GRANT]}, "invalid_request"),
        ({"lifetime": "0"}, "invalid_request"),
        ({"lifetime": "-1"}, "invalid_request"),
        ({"lifetime": "1e3"}, "invalid_request"),
        ({"lifetime": "9" * 7}, "invalid_request"),
        ({"lifetime": "٣"}, "invalid_request"),
    ],
)
async def test_a_bad_form(rig, change, code):
    """The code says which parameter is wrong, and no exchange is tried."""
    status, document, _ = await rig.post(FORM | change)

    assert (status, document["error"]) == (400, code)
    assert rig.exchanges.asked == []
    assert KEY not in json.dumps(document)


@pytest.mark.parametrize(
    "request_of",
    [
        {"headers": ()},
        {"headers": (("content-type", "application/json"),)},
        {"headers": (TYPE, ("x-api-key", KEY))},
        {"headers": (TYPE, ("x-api-key", KEY), ("authorization", f"Bearer {KEY}"))},
        {"body": b"x" * (MAX_FORM + 1)},
        {"body": b"&".join(b"a%d=1" % at for at in range(40))},
        {"body": "grant_type=é".encode()},
        {"body": b"grant_type=%ff"},
        {"body": b""},
    ],
)
async def test_a_bad_request(rig, request_of):
    """Another type, two keys, and a body that is no form are invalid requests."""
    status, document, _ = await rig.post(**request_of)

    assert (status, document["error"]) == (400, "invalid_request")
    assert rig.exchanges.asked == []


@pytest.mark.parametrize(
    ("refused", "status", "code", "retry"),
    [
        (Refused(ExchangeError.BAD_SUBJECT), 400, "invalid_request", None),
        (Refused(ExchangeError.BAD_SCOPE), 400, "invalid_scope", None),
        (Refused(ExchangeError.BAD_AUDIENCE), 400, "invalid_target", None),
        (Refused(ExchangeError.OVER_LIMIT, 60), 429, "temporarily_unavailable", "60"),
        (Refused(ExchangeError.UNAVAILABLE, 1, "why"), 503, "temporarily_unavailable", "1"),
    ],
)
async def test_a_refusal(rig, refused, status, code, retry):
    """Each refusal has its code; only a fault is noted, and its cause is not shown."""
    rig.exchanges.answer = refused
    found, document, headers = await rig.post()

    assert (found, document["error"], headers.get("retry-after")) == (status, code, retry)
    assert "why" not in json.dumps(document)
    assert rig.notes == (["why"] if status == 503 else [])


async def test_other_methods_are_refused(rig):
    """Only POST gives a token, and only GET and HEAD the documents."""
    assert (await rig.post(method="GET"))[0] == 405
    for answer in (rig.endpoint.key_set, rig.endpoint.metadata):
        assert (await answer(HttpRequest("POST", KEY_SET))).status == 405


async def test_the_key_set_has_public_keys_only(rig):
    """Each key has the members that a verifier needs, and no private part (RFC 7517)."""
    response = await rig.endpoint.key_set(HttpRequest("GET", KEY_SET))
    (key,) = json.loads(response.body)["keys"]

    assert response.status == 200
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    rig.keys = None
    assert (await rig.endpoint.key_set(HttpRequest("GET", KEY_SET))).status == 503


async def test_the_metadata_name_the_endpoints(rig):
    """The document of RFC 8414 has the issuer and the two URLs under it."""
    response = await rig.endpoint.metadata(HttpRequest("GET", METADATA))
    document = json.loads(response.body)

    assert document["issuer"] == Expected(ISSUER, ()).issuer
    assert document["token_endpoint"] == f"{ISSUER}/v1/token"
    assert document["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"
    assert document["grant_types_supported"] == [GRANT]
