"""The door against a model that says of any bytes whether they may be let through."""

import asyncio
import re
from collections.abc import Iterator

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.protobuf.message import DecodeError
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from authz.core.records import KeyRecord, Status
from authz.rpc.pb.check.v1.check_view_pb2 import CheckView, HeaderMap, HeaderValue, Peer
from tests.support.fakes import NOW
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import JWT, OTHER

GOOD, EXPIRED, REVOKED, TEST = (f"{number:016}" for number in range(4))


def new_door() -> tuple[Door, dict[str, KeyRecord]]:
    """A door, and the records that its keys open."""
    door = Door()
    issued = [
        door.issue(kid=GOOD, scopes=frozenset({"a", "b"})),
        door.issue(kid=EXPIRED, expires_at=NOW),
        door.issue(kid=REVOKED, status=Status.REVOKED),
        door.issue(kid=TEST, env="test"),
    ]
    return door, {text: record for record, text in issued}


def may_pass(raw: bytes, records: dict[str, KeyRecord]) -> bool:
    """Return whether the promise allows the request, from the fields that a Check depends on.

    Damage to any other field, such as the protocol, must not refuse a good key.
    """
    try:
        attributes = CheckView.FromString(raw).attributes
        http, facts = attributes.request.http, attributes.context_extensions
        Peer.FromString(attributes.source)
        raw_headers = list(_read(http.header_map))
        method, host, path = http.method.decode(), http.host.decode(), http.path.decode()
    except (DecodeError, UnicodeDecodeError):
        return False
    auth, env, wanted = facts.get("auth", ""), facts.get("env", ""), facts.get("scopes", "")
    if not (method and host and (path or method == "CONNECT")):
        return False
    if "," in host or set(facts) - {"auth", "env", "scopes", "cost"}:
        return False
    if facts.get("cost", "") not in ("", "0", "5"):
        return False
    if auth not in ("", "optional", "required") or env not in ("", "live", "test"):
        return False
    if not all(re.fullmatch(r"[\w./@+:*-]+", scope, re.ASCII) for scope in wanted.split()):
        return False
    headers = {name: value.decode("utf-8", "replace") for name, value in http.headers.items()}
    texts = _credentials(headers or _joined(raw_headers))
    if not texts:
        return auth == "optional"
    record = records.get(texts[0]) if len(texts) == 1 else None
    return (
        record is not None
        and record.status is Status.ACTIVE
        and record.expires_at is None
        and env in ("", record.env)
        and set(wanted.split()) <= record.scopes
    )


def _read(header_map: bytes) -> Iterator[HeaderValue]:
    """Each entry of the raw form. Damage to what is not looked at does not matter."""
    wanted = (b"x-api-key", b"authorization")
    if not any(name in header_map for name in wanted):
        return
    for entry in HeaderMap.FromString(header_map).headers:
        try:
            yield HeaderValue.FromString(entry)
        except DecodeError:
            if any(name in entry for name in wanted):
                raise


def _joined(entries) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        name = entry.key.decode("latin-1")
        value = (entry.raw_value or entry.value).decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _credentials(headers: dict[str, str]) -> list[str]:
    """Every text that wants to be a key."""
    found = [headers["x-api-key"]] if headers.get("x-api-key") else []
    for part in headers.get("authorization", "").split(","):
        scheme, _, token = part.strip(" \t").partition(" ")
        if scheme.lower() == "bearer" and token.strip(" ").startswith("ak_"):
            found.append(part if "," in headers["authorization"] else token.strip(" "))
    return found


_door, RECORDS = new_door()
KEYS = [*RECORDS, OTHER]
_headers = st.lists(
    st.one_of(
        st.tuples(st.just("x-api-key"), st.sampled_from([*KEYS, "", "garbage"])),
        st.tuples(
            st.just("authorization"),
            st.sampled_from([*KEYS, JWT, "ak_x"]).map(lambda text: f"Bearer {text}"),
        ),
        st.tuples(st.just("x-request-id"), st.text(max_size=5)),
    ),
    max_size=3,
)
_facts = st.fixed_dictionaries(
    {},
    optional={
        "auth": st.sampled_from(["optional", "required", "", "no"]),
        "env": st.sampled_from(["live", "test", "prod"]),
        "scopes": st.sampled_from(["a", "a b", "c", "a c", "!"]),
        "cost": st.sampled_from(["", "0", "5", "five"]),
        "scope": st.sampled_from(["", "c"]),
    },
)


@settings(max_examples=300)
@given(headers=_headers, facts=_facts, raw_headers=st.booleans())
@example(headers=[("x-api-key", KEYS[0])], facts={"scopes": "a b"}, raw_headers=False)
@example(headers=[("x-api-key", KEYS[0])], facts={"scopes": "a c"}, raw_headers=True)
@example(headers=[], facts={"auth": "optional"}, raw_headers=False)
def test_code_0_is_said_only_where_the_promise_holds(headers, facts, raw_headers):
    """Any headers, in either form, on any route."""
    _agree(check_request(headers, raw_headers=raw_headers, extensions=facts).SerializeToString())


@given(data=st.data(), raw_headers=st.booleans(), facts=_facts)
def test_a_damaged_message_is_let_through_for_what_it_says_alone(data, raw_headers, facts):
    """Bytes altered or cut off make another request, judged like any other."""
    headers = [("x-api-key", KEYS[0])]
    message = check_request(headers, raw_headers=raw_headers, extensions=facts)
    raw = bytearray(message.SerializeToString())
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=2)):
        raw[at] = data.draw(st.integers(0, 255))
    damaged = bytes(raw[: len(raw) - data.draw(st.just(0) | st.integers(0, 40))])
    assert may_pass(damaged, RECORDS) or not _allows(damaged)


def test_damage_to_a_field_that_nobody_reads_refuses_no_good_key():
    """A byte that is no UTF-8 in the protocol leaves the decision as it was."""
    raw = check_request([("x-api-key", KEYS[0])]).SerializeToString()
    damaged = raw.replace(b"HTTP/2", b"\x80TTP/2")

    assert damaged != raw
    assert may_pass(damaged, RECORDS)
    assert _allows(damaged)


@given(raw=st.binary())
def test_random_bytes_are_answered(raw):
    """Any bytes get a response, and only a request that may pass gets code 0."""
    assert may_pass(raw, RECORDS) or not _allows(raw)


def _agree(raw: bytes) -> None:
    """Check that exactly the requests that may pass are allowed."""
    allowed = _allows(raw)
    event("allowed" if allowed else "refused")
    assert allowed is may_pass(raw, RECORDS)


def _allows(raw: bytes) -> bool:
    answer = asyncio.run(_fresh_answer(raw))
    allowed = answer.status.code == 0
    assert allowed is (answer.WhichOneof("http_response") == "ok_response")
    return allowed


async def _fresh_answer(raw: bytes) -> CheckResponse:
    door = Door()
    door.source.records |= _door.source.records
    return await door.answer(raw)
