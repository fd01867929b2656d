"""CheckResponse bytes against a model that builds every answer in one piece."""

import itertools
import json
import re
from collections.abc import Iterator

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Allow, Decision, Deny, Reason, StaleAllow, StaleDeny
from authz.core.records import KeyRecord
from authz.core.request import Request, Route
from authz.rpc.check.reason_table import TABLE
from tests.support.fakes import make_record, make_request
from tests.support.rpc.answers import IDENTITY, arm, responder


def texts(answer: CheckResponse) -> Iterator[str]:
    """Every text that Envoy sends on, shows or logs."""
    part = arm(answer)
    for option in part.headers:
        yield from (option.header.key, option.header.value)
    if answer.HasField("ok_response"):
        yield from part.headers_to_remove
    else:
        yield part.body
    for name, value in answer.dynamic_metadata.items():
        yield from (name, str(value))


def top_level_fields(raw: bytes) -> list[int]:
    """The field numbers of a message as they stand on the wire; all are length-delimited."""
    found, at = [], 0
    while at < len(raw):
        tag, at = raw[at], at + 1
        assert tag & 7 == 2
        length = shift = 0
        while True:
            byte, at = raw[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        found.append(tag >> 3)
        at += length
    assert at == len(raw)
    return found


def whole(decision: Decision, request: Request, charge_id: str, query: str = "") -> CheckResponse:
    """The answer built in one piece, as the field meanings say: no base, no suffix."""
    answer = CheckResponse()
    key = decision.key
    if isinstance(decision, Allow):
        answer.status.code = 0
        ok = answer.ok_response
        values = _identity(key) | ({"stale": "true"} if isinstance(decision, StaleAllow) else {})
        for name in IDENTITY:
            if values.get(name):
                _set(ok, f"x-auth-{name}", values[name])
            else:
                ok.headers_to_remove.append(f"x-auth-{name}")
        ok.headers_to_remove.append("x-api-key")
        if request.carrier not in ("", "?", "x-api-key"):
            ok.headers_to_remove.append(request.carrier)
        if key and request.carrier == "?":
            _set(ok, ":path", _path_without(query, request.path))
        facts = {"reason": "ok" if key else "anonymous"}
    else:
        _refuse(answer, decision, request, charge_id)
        facts = {"reason": decision.reason.value}
    if key:
        facts |= {"key_id": key.kid, "client_id": key.client_id}
        facts |= {"project_id": key.project_id} if key.project_id else {}
        facts |= {"tenant_id": key.tenant_id} if key.tenant_id else {}
        facts |= {"plan": key.plan} if key.plan else {}
        facts |= {"env": key.env, "secret_id": key.secrets[0].id}
    facts |= {"route": request.route.label} if request.route.label else {}
    if key and isinstance(decision, Allow):
        facts |= {"charged": str(request.route.cost)}
    facts |= {"stale": True} if isinstance(decision, StaleAllow | StaleDeny) else {}
    answer.dynamic_metadata.update(facts | {"charge_id": charge_id})
    return answer


def _identity(key: KeyRecord | None) -> dict[str, str]:
    if key is None:
        return {}
    return {
        "key-id": key.kid,
        "client-id": key.client_id,
        "project-id": key.project_id,
        "tenant-id": key.tenant_id,
        "scopes": " ".join(sorted(key.scopes)),
        "env": key.env,
        "plan": key.plan,
    }


def _path_without(name: str, path: str) -> str:
    """The path without the parameter, and without characters that split a header."""
    bare, *query = path.split("?", 1)
    parts = query[0].split("&") if query else []
    kept = "&".join(p for p in parts if p != name and not p.startswith(f"{name}="))
    whole = f"{bare}?{kept}" if kept else bare
    return "".join(f"%{ord(c):02X}" if c <= " " or c == "\x7f" else c for c in whole)


def _refuse(answer: CheckResponse, decision: Deny, request: Request, charge_id: str) -> None:
    reason = decision.reason
    row = TABLE[reason]
    answer.status.code = row.grpc_code
    refused = answer.error_response if reason is Reason.UNAVAILABLE else answer.denied_response
    refused.status.code = row.status
    wanted = " ".join(sorted(request.route.scopes)) if decision.key else ""
    detail = row.detail
    if reason is Reason.INSUFFICIENT_SCOPE and wanted:
        detail = f"This API key lacks a required scope. Required: {wanted}."
    request_id = request.header("x-request-id", "")
    shown = request_id if re.fullmatch(r"[\w.:-]{1,64}", request_id, re.ASCII) else charge_id
    problem = {
        "type": f"urn:authz:problem:{row.code}",
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "code": row.code,
        "error": {"message": detail, "type": row.error_type, "code": row.code},
        "request_id": shown,
    }
    is_grpc = request.header("content-type", "").split("+")[0] == "application/grpc"
    refused.body = detail if is_grpc else json.dumps(problem)
    if is_grpc:
        _set(refused, "grpc-status", str(row.grpc_code))
    else:
        _set(refused, "content-type", "application/problem+json")
    challenge = 'Bearer realm="authz"'
    if reason is Reason.AMBIGUOUS_CREDENTIAL:
        challenge += f', error="invalid_request", error_description="{detail}"'
    elif reason is Reason.INSUFFICIENT_SCOPE:
        challenge += f', error="insufficient_scope", scope="{wanted}"'
    elif reason is not Reason.MISSING_CREDENTIAL:
        challenge += f', error="invalid_token", error_description="{detail}"'
    if row.status == 401 or reason is Reason.INSUFFICIENT_SCOPE:
        _set(refused, "www-authenticate", challenge)
    if row.status == 503:
        _set(refused, "retry-after", "1")
    if reason is Reason.TOO_MANY_FAILURES:
        _set(refused, "retry-after", "60")


def _set(part: Message, name: str, value: str) -> None:
    option = part.headers.add()
    option.header.key, option.header.value = name, value
    option.append.value = False
    option.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


_ids = st.from_regex(r"[A-Za-z0-9._:@-]{1,20}", fullmatch=True)
_scopes = st.frozensets(st.sampled_from(["a", "models:generate", "models:*", "*"]))
_records = st.builds(
    make_record,
    kid=st.from_regex(r"[0-9A-Za-z]{16}", fullmatch=True),
    version=st.integers(1, 3),
    env=st.sampled_from(["live", "test"]),
    client_id=_ids,
    project_id=st.just("") | _ids,
    tenant_id=st.just("") | _ids,
    plan=st.just("") | _ids,
    scopes=_scopes,
)
_client_text = st.text(max_size=20) | st.sampled_from(
    ["application/grpc", "application/grpc+proto", "application/grpc-web", "id-1", "a\r\nx: y\0"]
)
_parameters = st.sampled_from(["api_key=k", "api_key=", "api_key", "api_keys=1", ""]) | _client_text
_requests = st.builds(
    make_request,
    headers=st.dictionaries(
        st.sampled_from(["x-request-id", "content-type", "x-api-key", "x-auth-key-id"]),
        _client_text,
    ),
    carrier=st.sampled_from(["?", "x-api-key", "authorization"]),
    route=st.builds(
        Route,
        scopes=_scopes,
        cost=st.integers(0, 1_000_000),
        label=st.sampled_from(["", "chat", "/v1/models/{model}:run"]),
    ),
    host=_client_text,
    path=st.builds("/{}?{}".format, _client_text, st.lists(_parameters).map("&".join)),
    client_address=_client_text,
)
_decisions = st.one_of(
    st.builds(Allow, st.none() | _records),
    st.builds(StaleAllow, _records),
    st.builds(Deny, st.sampled_from(Reason), st.none() | _records),
    st.builds(StaleDeny, st.sampled_from(Reason), st.none() | _records),
)


@given(
    made=st.lists(st.tuples(_decisions, _requests), min_size=1, max_size=4),
)
def test_what_is_put_together_equals_what_is_built_whole(made):
    """Base and suffix merge into the message that the field meanings ask for, kept or not."""
    writer = responder(query="api_key")
    for decision, request in made * 2:
        raw = writer.write(decision, request)
        answer = CheckResponse.FromString(raw)
        charge_id = answer.dynamic_metadata["charge_id"]
        assert answer == whole(decision, request, charge_id, "api_key")
        assert top_level_fields(raw).count(1) == 1


@given(decision=_decisions, request=_requests)
def test_only_an_allow_has_code_0(decision, request):
    """An answer is never empty, and code 0 and ok_response come together or not at all."""
    raw = responder(query="api_key").write(decision, request)
    answer = CheckResponse.FromString(raw)
    assert raw
    assert answer.HasField("status")
    is_allow = isinstance(decision, Allow)
    assert (answer.status.code == 0) is is_allow
    assert (answer.WhichOneof("http_response") == "ok_response") is is_allow


@given(decision=_decisions, request=_requests)
def test_nothing_that_a_client_wrote_can_split_an_answer(decision, request):
    """No CR, LF or NUL anywhere, no empty name or value, and nothing is appended."""
    answer = CheckResponse.FromString(responder(query="api_key").write(decision, request))
    found = list(texts(answer))
    assert not [text for text in found if not text or set(text) & set("\r\n\0")]
    for option in arm(answer).headers:
        assert option.HasField("append")
        assert not option.append.value
        assert option.append_action == HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def test_one_writer_tells_each_case_for_itself() -> None:
    """A template of one refusal is not used for another: two rounds over all of them."""
    writer, key = responder(), make_record()
    cases = itertools.product(
        (Deny, StaleDeny),
        ((Reason.FORGED, None), (Reason.INSUFFICIENT_SCOPE, key)),
        ("", "application/grpc"),
        ("", "i", "i" * 36, "i" * 64),
        (frozenset({"a"}), frozenset({"b"})),
    )
    for made, (reason, of), content_type, name, scopes in list(cases) * 2:
        headers = {"content-type": content_type, "x-request-id": name}
        request = make_request(headers=headers, route=Route(scopes=scopes))
        answer = CheckResponse.FromString(writer.write(made(reason, of), request))
        charge_id = answer.dynamic_metadata["charge_id"]
        assert answer == whole(made(reason, of), request, charge_id)
