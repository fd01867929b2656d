"""Decision -> CheckResponse bytes."""

import json

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Allow, Deny, Reason
from authz.core.request import Route
from authz.rpc.check import response_parts as shared
from authz.rpc.check.reason_table import TABLE
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
    }


@pytest.mark.parametrize(
    ("carrier", "query", "removed", "parameters"),
    [
        ("x-api-key", "", {"x-api-key"}, []),
        ("authorization", "", {"x-api-key", "authorization"}, []),
        ("", "", {"x-api-key"}, []),
        ("", "api_key", {"x-api-key"}, []),
        ("?", "api_key", {"x-api-key"}, ["api_key"]),
        ("authorization", "api_key", {"x-api-key", "authorization"}, []),
    ],
)
@pytest.mark.parametrize("key", [None, FULL], ids=["anonymous", "key"])
def test_the_credential_does_not_reach_the_backend(key, carrier, query, removed, parameters):
    """What holds nothing but keys always goes; a shared header goes when it held one."""
    ok = told(Allow(key), make_request(carrier=carrier), query=query).ok_response
    assert {name for name in ok.headers_to_remove if not name.startswith("x-auth-")} == removed
    assert list(ok.query_parameters_to_remove) == parameters
    assert len(set(ok.headers_to_remove)) == len(ok.headers_to_remove)


@REASONS
def test_every_reason_has_an_answer(reason):
    """A status that Envoy passes on, a code that is no allow, and a body that says why."""
    answer = told(Deny(reason), make_request(headers={"x-request-id": "id-1"}))
    row, refused = TABLE[reason], arm(answer)
    is_ours = reason is Reason.UNAVAILABLE
    assert answer.WhichOneof("http_response") == (
        "error_response" if is_ours else "denied_response"
    )
    assert 400 <= refused.status.code <= 599
    assert (answer.status.code, refused.status.code) == (row.grpc_code, row.status)
    assert answer.status.code != 0
    assert json.loads(refused.body) == {
        "type": f"urn:authz:problem:{row.code}",
        "title": row.title,
        "status": row.status,
        "detail": row.detail,
        "code": row.code,
        "request_id": "id-1",
    }
    headers = headers_of(refused)
    assert headers["content-type"] == "application/problem+json"
    challenged = row.status == 401 or reason is Reason.INSUFFICIENT_SCOPE
    assert headers.get("www-authenticate", "").startswith("Bearer realm=") is challenged
    assert ("retry-after" in headers) is (row.status == 503)
    assert answer.dynamic_metadata["reason"] == reason.value


@REASONS
def test_the_statuses_agree_with_the_codes(reason):
    """google.rpc.Code and HTTP say the same: what a gRPC caller sees is made of the HTTP status."""
    row = TABLE[reason]
    assert {400: 3, 401: 16, 403: 7, 429: 8, 503: 14}[row.status] == row.grpc_code


def test_the_public_codes():
    """What callers write into their error handling."""
    assert {reason.name: (row.status, row.code) for reason, row in TABLE.items()} == {
        "BAD_REQUEST": (400, "bad_request"),
        "AMBIGUOUS_PATH": (400, "ambiguous_path"),
        "ROUTE_NOT_ALLOWED": (403, "route_not_allowed"),
        "MISSING_CREDENTIAL": (401, "missing_api_key"),
        "UNRECOGNIZED_CREDENTIAL": (401, "missing_api_key"),
        "AMBIGUOUS_CREDENTIAL": (401, "ambiguous_api_key"),
        "MISPLACED_CREDENTIAL": (401, "invalid_api_key"),
        "MALFORMED": (401, "invalid_api_key"),
        "FORGED": (401, "invalid_api_key"),
        "UNKNOWN_KEY": (401, "invalid_api_key"),
        "WRONG_SECRET": (401, "invalid_api_key"),
        "SECRET_RETIRED": (401, "api_key_rotated"),
        "REVOKED": (401, "api_key_revoked"),
        "DISABLED": (401, "api_key_disabled"),
        "NOT_YET_VALID": (401, "api_key_not_yet_valid"),
        "EXPIRED": (401, "api_key_expired"),
        "WRONG_ENVIRONMENT": (403, "wrong_environment"),
        "ADDRESS_NOT_ALLOWED": (403, "address_not_allowed"),
        "HOST_NOT_ALLOWED": (403, "host_not_allowed"),
        "ORIGIN_NOT_ALLOWED": (403, "origin_not_allowed"),
        "INSUFFICIENT_SCOPE": (403, "insufficient_scope"),
        "RATE_LIMITED": (429, "rate_limited"),
        "QUOTA_EXCEEDED": (429, "quota_exceeded"),
        "UNAVAILABLE": (503, "unavailable"),
    }


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/grpc"}], ids=["http", "grpc"]
)
def test_who_has_proven_nothing_learns_nothing(headers):
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


def test_what_is_kept_is_bounded(monkeypatch):
    """More keys than there is room for are answered all the same, the newest from memory."""
    monkeypatch.setattr(shared, "MAX_BASES", 5)
    writer = responder()
    records = [make_record(kid=f"{number:016}") for number in range(20)]
    for record in records:
        for decision in (Allow(record), Deny(Reason.REVOKED, record)):
            answer = CheckResponse.FromString(writer.write(decision, make_request()))
            assert answer.dynamic_metadata["key_id"] == record.kid
    for kept in (writer._allows, writer._refuse.__self__._known):
        assert [entry[0] for entry in kept.values()] == records[-5:]
    for _ in range(10):  # one key read anew pushes out nobody
        writer.write(Allow(make_record(kid=records[-1].kid)), make_request())
    assert len(writer._allows) == 5
