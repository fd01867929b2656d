"""CheckResponses: the headers, statuses, bodies and metadata of each decision."""

import json
import re

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse, DeniedHttpResponse

from authz.core.decision import Allow, Deny, Reason
from authz.core.request import IN_QUERY, Route
from authz.rpc.check.reason_table import TABLE
from authz.rpc.check.strip import without_parameter
from authz.telemetry.outcomes import AUTHENTICATION
from tests.support.fakes import make_record, make_request
from tests.support.rpc.answers import IDENTITY, arm, headers_of, responder, told

BEFORE_PROOF = (Reason.MALFORMED, Reason.FORGED, Reason.UNKNOWN_KEY, Reason.WRONG_SECRET)
REASONS = pytest.mark.parametrize("reason", Reason)
FULL = make_record(
    project_id="search", tenant_id="acme", plan="standard", scopes=frozenset({"b:c", "a"})
)


@pytest.mark.parametrize("key", [None, FULL, make_record()], ids=["anonymous", "full", "bare"])
def test_every_identity_header_is_set_or_removed(key):
    """On every allow, so that a client's own copy never reaches the backend."""
    ok = told(Allow(key), header_prefix="x-id-").ok_response
    assert set(headers_of(ok)) | set(ok.headers_to_remove) == {
        "x-api-key",
        *(f"x-id-{name}" for name in IDENTITY),
    }
    assert not set(headers_of(ok)) & set(ok.headers_to_remove)


def test_a_key_is_told_to_the_backend():
    """The identity headers of a key, and what Envoy's own filters may use."""
    answer = told(Allow(FULL))
    assert headers_of(answer.ok_response) == {
        "x-auth-key-id": FULL.kid,
        "x-auth-client-id": "acme-web",
        "x-auth-project-id": "search",
        "x-auth-tenant-id": "acme",
        "x-auth-scopes": "a b:c",
        "x-auth-env": "live",
        "x-auth-plan": "standard",
    }
    facts = dict(answer.dynamic_metadata.items())
    assert facts.pop("charge_id")
    assert facts == {
        "reason": "ok",
        "key_id": FULL.kid,
        "client_id": "acme-web",
        "project_id": "search",
        "tenant_id": "acme",
        "plan": "standard",
        "env": "live",
        "secret_id": "1",
        "charged": "1",
    }


@pytest.mark.parametrize(
    ("carrier", "query", "removed", "path"),
    [
        ("x-api-key", "", {"x-api-key"}, None),
        ("authorization", "", {"x-api-key", "authorization"}, None),
        (IN_QUERY, "api_key", {"x-api-key"}, "/a?b=1&flag&c=%2F"),
        ("x-api-key", "api_key", {"x-api-key"}, None),
        ("authorization", "api_key", {"x-api-key", "authorization"}, None),
    ],
)
def test_the_credential_does_not_reach_the_backend(carrier, query, removed, path):
    """A header for keys alone is removed; a shared header only if it held the key.

    A key in the query is taken out of the path, whose rest stays as it is. Envoy would rewrite a
    query of which it removes a parameter, so a signature over it would break.
    """
    request = make_request(carrier=carrier, path="/a?b=1&api_key=x&flag&c=%2F")
    ok = told(Allow(FULL), request, query=query).ok_response
    assert {name for name in ok.headers_to_remove if not name.startswith("x-auth-")} == removed
    assert headers_of(ok).get(":path") == path
    assert not ok.query_parameters_to_remove
    assert len(set(ok.headers_to_remove)) == len(ok.headers_to_remove)


def test_the_query_of_an_anonymous_request_is_left_alone():
    """Without a key there is nothing to remove."""
    assert ":path" not in headers_of(told(Allow(None), query="api_key").ok_response)


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/a?k=1", "/a"),
        ("/a?k=1&b", "/a?b"),
        ("/a?b&k=1", "/a?b"),
        ("/a?b=%26k=1&k=2&&c", "/a?b=%26k=1&&c"),
        ("/a?k&k=&k=1&kk=1&K=1", "/a?kk=1&K=1"),
        ("/a?b?k=1&k=1", "/a?b?k=1"),
        ("/a", "/a"),
        ("/k=1?&k=1", "/k=1"),
        ("/a?b=\r\nx: y\0&k=1", "/a?b=%0D%0Ax:%20y%00"),
    ],
)
def test_a_parameter_is_taken_out_of_a_path(path, left):
    """Other parameters stay byte for byte, in their order."""
    assert without_parameter(path, "k") == left


@REASONS
def test_every_reason_is_a_refusal_that_envoy_passes_on(reason):
    """The code is no allow, the status is one of five, and a fault of ours is an error."""
    answer = told(Deny(reason))
    refused = arm(answer)
    is_fault = reason is Reason.UNAVAILABLE
    assert answer.status.code == {400: 3, 401: 16, 403: 7, 429: 8, 503: 14}[refused.status.code]
    assert answer.WhichOneof("http_response") == (
        "error_response" if is_fault else "denied_response"
    )
    assert (refused.status.code == 503) is is_fault
    waits = is_fault or reason is Reason.TOO_MANY_FAILURES
    assert ("retry-after" in headers_of(refused)) is waits
    assert answer.dynamic_metadata["reason"] == reason.value


@REASONS
def test_a_body_is_a_problem_that_agrees_with_the_response(reason):
    """RFC 9457: the status repeats the HTTP status, the type names the code, the id is shown."""
    refused = arm(told(Deny(reason), make_request(headers={"x-request-id": "id-1"})))
    body = json.loads(refused.body)
    assert headers_of(refused)["content-type"] == "application/problem+json"
    assert body["status"] == refused.status.code
    assert body["type"] == f"urn:authz:problem:{body['code']}"
    assert re.fullmatch("[a-z_]+", body["code"])
    assert body["title"]
    assert body["detail"].endswith(".")
    assert body["request_id"] == "id-1"


@REASONS
def test_sdks_find_the_refusal_in_the_error_member(reason):
    """OpenAI's SDK reads error.message and error.code, Anthropic's error.type and error.message."""
    body = json.loads(arm(told(Deny(reason))).body)
    assert body["error"] == {
        "message": body["detail"],
        "type": {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            429: "rate_limit_error",
            503: "api_error",
        }[body["status"]],
        "code": body["code"],
    }


@REASONS
def test_an_authentication_failure_is_401_with_a_challenge(reason):
    """RFC 9110, 11.6.1: a 401 has WWW-Authenticate. RFC 6750 wants it for a lack of scope, too."""
    refused = arm(told(Deny(reason)))
    is_failure = reason in AUTHENTICATION and reason is not Reason.TOO_MANY_FAILURES  # that is 429
    assert (refused.status.code == 401) is is_failure
    challenged = headers_of(refused).get("www-authenticate", "").startswith("Bearer realm=")
    assert challenged is (is_failure or reason is Reason.INSUFFICIENT_SCOPE)


def test_a_code_has_one_status():
    """Callers write codes into their error handling."""
    statuses: dict[str, set[int]] = {}
    for row in TABLE.values():
        statuses.setdefault(row.code, set()).add(row.status)
    assert TABLE.keys() == set(Reason)
    assert not [code for code, found in statuses.items() if len(found) > 1]


def test_a_token_that_is_no_key_is_told_apart_from_no_token():
    """The code is the same; the detail and the challenge say that a token was seen."""
    missing, foreign = (
        arm(told(Deny(reason)))
        for reason in (Reason.MISSING_CREDENTIAL, Reason.UNRECOGNIZED_CREDENTIAL)
    )
    assert "token" not in json.loads(missing.body)["detail"]
    assert "token" in json.loads(foreign.body)["detail"]
    assert "error" not in headers_of(missing)["www-authenticate"]
    assert 'error="invalid_token"' in headers_of(foreign)["www-authenticate"]


def arms_of(raw: bytes) -> list[tuple[int, bytes]]:
    """The arms of the oneof as they stand in the bytes, each with its field number."""
    found, at = [], 0
    while at < len(raw):
        number, at = raw[at] >> 3, at + 1
        length = shift = 0
        while True:
            byte, at = raw[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if number in (2, 3, 5):
            found.append((number, raw[at : at + length]))
        at += length
    return found


@pytest.mark.parametrize("length", [1, 36, 64])
@pytest.mark.parametrize("kind", ["", "application/grpc"])
def test_a_fault_of_ours_is_read_by_an_envoy_without_error_response(kind, length):
    """Envoy 1.36 skips field 5 and reads the denied_response that stands before it."""
    request = make_request(headers={"x-request-id": "7" * length, "content-type": kind})
    writer = responder()
    for _ in range(2):
        raw = writer.write(Deny(Reason.UNAVAILABLE), request)
        parts = arms_of(raw)
        numbers = [number for number, _ in parts]
        assert numbers == sorted(numbers)
        assert set(numbers) == {2, 5}
        old, new = (
            DeniedHttpResponse.FromString(b"".join(part for at, part in parts if at == number))
            for number in (2, 5)
        )
        assert old == new == CheckResponse.FromString(raw).error_response
        assert old.status.code == 503
        assert headers_of(old)["retry-after"] == "1"
        assert ("7" * length in old.body) is (not kind)


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/grpc"}], ids=["http", "grpc"]
)
def test_a_caller_that_has_proven_nothing_learns_nothing(headers):
    """Malformed, forged, unknown and wrong look the same, but for the id of the request."""
    writer, seen = responder(), set()
    for reason in BEFORE_PROOF:
        raw = writer.write(Deny(reason), make_request(headers=headers))
        answer = CheckResponse.FromString(raw)
        charge_id = answer.dynamic_metadata["charge_id"]
        answer.ClearField("dynamic_metadata")  # Envoy keeps that to itself
        seen.add(answer.SerializeToString(deterministic=True).replace(charge_id.encode(), b""))
        assert len(charge_id) == 28
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc+json", True),
        ("application/grpc-web", False),
        ("application/grpc-web+proto", False),
        ("application/grpcx", False),
        ("application/json", False),
        ("application/grpc\n", False),
        ("", False),
    ],
)
@REASONS
def test_a_grpc_caller_gets_plain_text(reason, content_type, is_grpc):
    """Envoy makes the body the grpc-message, for those that it takes for gRPC callers."""
    request = make_request(headers={"content-type": content_type})
    refused = arm(told(Deny(reason), request))
    assert (refused.body == TABLE[reason].detail) is is_grpc
    assert ("content-type" in headers_of(refused)) is not is_grpc


@pytest.mark.parametrize("is_grpc", [False, True])
def test_the_scopes_that_a_route_asks_for_are_named(is_grpc):
    """Once the key is proven its holder is told what it lacks."""
    request = make_request(
        route=Route(scopes=frozenset({"b:c", "a"})),
        headers={"content-type": "application/grpc"} if is_grpc else {},
    )
    refused = arm(told(Deny(Reason.INSUFFICIENT_SCOPE, FULL), request))
    detail = refused.body if is_grpc else json.loads(refused.body)["detail"]
    assert detail == "This API key lacks a required scope. Required: a b:c."
    assert headers_of(refused)["www-authenticate"] == (
        'Bearer realm="authz", error="insufficient_scope", scope="a b:c"'
    )


LONG = frozenset(f"resource-{number}:{'x' * 100}" for number in range(100))


@pytest.mark.parametrize("scopes", [LONG, frozenset({"a" * 256}), frozenset({"a:b"})])
@pytest.mark.parametrize("kind", ["", "application/grpc"])
def test_scopes_of_any_length_fit_into_a_response(scopes, kind):
    """Envoy cuts a body off after 4,096 bytes, as shipped. The rest of the scopes is counted."""
    headers = {"x-request-id": "i" * 64, "content-type": kind}
    request = make_request(route=Route(scopes=scopes), headers=headers)
    refused = arm(told(Deny(Reason.INSUFFICIENT_SCOPE, FULL), request))
    detail = refused.body if kind else json.loads(refused.body)["detail"]
    named = [scope for scope in scopes if scope in detail]
    assert len(refused.body) <= 4096
    assert named
    assert (f"and {len(scopes) - len(named)} more" in detail) is (len(named) < len(scopes))
    challenge = headers_of(refused)["www-authenticate"]
    assert len(challenge) < 1200
    assert ("scope=" in challenge) is (scopes is not LONG)


def test_the_scopes_of_a_route_are_named_for_a_lack_of_scope_alone():
    """A caller that proved no key is not told what the route asks for."""
    request = make_request(route=Route(scopes=frozenset({"secret:scope"})))
    for reason in set(Reason) - {Reason.INSUFFICIENT_SCOPE}:
        assert b"secret:scope" not in responder().write(Deny(reason), request)


@pytest.mark.parametrize(
    ("request_id", "is_shown"),
    [
        ("3b0a7c9e-7b51-4f3a-9c1e-9d6f0a1b2c3d", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a,b", False),
        ('"}', False),
        ("a\n", False),
        ("é", False),
        ("", False),
    ],
)
def test_a_request_id_is_shown_when_it_is_harmless(request_id, is_shown):
    """Else the caller gets the charge id, which the proxy's log has too."""
    request = make_request(headers={"x-request-id": request_id})
    answer = told(Deny(Reason.MISSING_CREDENTIAL), request)
    shown = json.loads(arm(answer).body)["request_id"]
    assert shown == (request_id if is_shown else answer.dynamic_metadata["charge_id"])


def test_charge_ids_are_unique():
    """Over the answers of one sidecar, and over sidecars."""
    writers = [responder(), responder()]
    decisions = [Allow(None), Allow(FULL), Deny(Reason.UNAVAILABLE), Deny(Reason.REVOKED, FULL)]
    ids = [
        CheckResponse.FromString(writer.write(decision, make_request())).dynamic_metadata[
            "charge_id"
        ]
        for writer in writers
        for decision in decisions * 20
    ]
    assert len(set(ids)) == len(ids)
    assert {len(charge_id) for charge_id in ids} == {28}


@pytest.mark.parametrize("version", [1, 2], ids=["same version", "next version"])
def test_a_record_that_was_read_anew_is_told_anew(version):
    """A restored store gives versions out again, so the same version may say another thing."""
    writer = responder()
    for client_id, number in (("old", 1), ("new", version), ("old", 1)):
        record = make_record(client_id=client_id, version=number, scopes=frozenset({client_id}))
        allowed = CheckResponse.FromString(writer.write(Allow(record), make_request()))
        refused = writer.write(Deny(Reason.EXPIRED, record), make_request())
        assert headers_of(allowed.ok_response)["x-auth-client-id"] == client_id
        assert headers_of(allowed.ok_response)["x-auth-scopes"] == client_id
        assert CheckResponse.FromString(refused).dynamic_metadata["client_id"] == client_id


def test_what_is_remembered_is_bounded():
    """More keys than there is room for get their responses all the same, the newest from memory."""
    writer = responder(max_templates=5)
    records = [make_record(kid=f"{number:016}") for number in range(20)]
    for record in records:
        for decision in (Allow(record), Deny(Reason.REVOKED, record)):
            answer = CheckResponse.FromString(writer.write(decision, make_request()))
            assert answer.dynamic_metadata["key_id"] == record.kid
    for kept in (writer._allows, writer._refuse.__self__._proven):
        assert [entry[0] for entry in kept.values()] == records[-5:]
    for _ in range(10):  # one key read anew pushes out nobody
        writer.write(Allow(make_record(kid=records[-1].kid)), make_request())
    assert len(writer._allows) == 5
