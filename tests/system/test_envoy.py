"""Requests through a real Envoy, as a client sees them."""

import http.client
import json
import os
import signal
import subprocess
import threading
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
import redis
import yaml

from authz.cli import binaries
from authz.cli.demo import Client, demonstrate
from authz.core.keys import base62
from authz.core.keys.text import KID_LENGTH, checksum
from tests.support import envoy_versions
from tests.support.limits import limits
from tests.support.system import Installation, await_line, until

ROOT = Path(__file__).parents[2]
CLIENT_HEADERS = 84  # as envoy.yaml says
IDENTITY = ("key-id", "client-id", "project-id", "tenant-id", "scopes", "env", "plan")


def spoil(text: str, position: int) -> str:
    """Return `text` with another base62 character at `position`."""
    other = base62.DIGITS[(base62.DIGITS.index(text[position]) + 1) % 62]
    return text[:position] + other + text[position + 1 or len(text) :]


def sealed(text: str) -> str:
    """Return a key text with a right checksum."""
    return text[:-6] + checksum(text[:-6])


def get_raw(url: str, headers: list[tuple[str, str | bytes]]) -> tuple[int, dict]:
    """Send a GET with these header lines, including duplicates and invalid bytes."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.putrequest("GET", "/")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
    return answer.status, json.loads(body)


def get_status(url: str, headers: list[tuple[str, str]]) -> int:
    """GET with these header lines and return the status."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.putrequest("GET", "/")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
    return answer.status


def envoy_counter(installation: Installation, name: str) -> int:
    """Return the sum of Envoy's counters whose name ends with `name`."""
    config = Path(installation.stack.config).with_name("envoy.yaml")
    admin = yaml.safe_load(config.read_text())["admin"]["address"]["socket_address"]
    url = f"http://127.0.0.1:{admin['port_value']}/stats?filter={name}$"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.rpartition(" ")[2]) for line in lines)


def test_envoy_accepts_the_file_that_users_copy() -> None:
    """`envoy --mode validate` takes envoy.yaml as it stands.

    One field is deprecated: Envoy 1.40 ignores the buffer of the usage logger outside of it.
    """
    command = [binaries.envoy(), "--mode", "validate", "-c", ROOT / "envoy.yaml"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    deprecated = [line for line in done.stderr.splitlines() if "deprecated option" in line.lower()]
    assert all(".common_config'" in line for line in deprecated)


def test_the_demonstration_holds(own_installation: Installation) -> None:
    """Every promise of `authz dev --check` is kept."""
    steps = list(demonstrate(own_installation.stack))

    assert len(steps) == 8
    assert [step for step in steps if not step.held] == []


def test_identity_headers_arrive_and_the_key_does_not(
    installation: Installation, envoy: Client
) -> None:
    """The backend gets identity headers, which a client cannot set, and no key."""
    issued = installation.issue(project_id="web", tenant_id="t-1", scopes=frozenset({"b:c", "a:*"}))
    spoofed = {f"x_auth_{name.replace('-', '_')}": "spoofed" for name in IDENTITY}

    arrived = envoy.get(x_api_key=issued.key_text, **spoofed).arrived

    assert {name: arrived.get(f"x-auth-{name}") for name in IDENTITY} == {
        "key-id": issued.record.kid,
        "client-id": "acme",
        "project-id": "web",
        "tenant-id": "t-1",
        "scopes": "a:* b:c",
        "env": "live",
        "plan": None,
    }
    assert issued.key_text not in json.dumps(arrived)


@pytest.mark.parametrize(
    ("query", "arrived"),
    [
        ("b=1&flag&api_key={}&X-Sig=ab%2Fcd", "?b=1&flag&X-Sig=ab%2Fcd"),
        ("api_key={}&b=2&a=1&b=%7e", "?b=2&a=1&b=%7e"),
        ("z=1&&a=;b&c=d+e&api_key={}", "?z=1&&a=;b&c=d+e"),
        ("api_key=&api_key={}&apikey=x", "?apikey=x"),
        ("api_key={}", ""),
    ],
)
def test_a_key_in_the_query_is_removed_and_the_rest_arrives_byte_for_byte(
    installation: Installation, envoy: Client, query: str, arrived: str
) -> None:
    """A signature over the query stays right: no parameter is sorted, decoded or completed."""
    issued = installation.issue()

    answer = envoy.get(f"/v1/models?{query.format(issued.key_text)}")

    assert answer.status == 200
    assert answer.body["path"] == f"/v1/models{arrived}"
    assert issued.key_text not in json.dumps(answer.body)


def test_a_bearer_key_is_taken_and_removed(installation: Installation, envoy: Client) -> None:
    """`Authorization: Bearer` is a carrier, and its header is removed."""
    issued = installation.issue()

    answer = envoy.get(authorization=f"Bearer {issued.key_text}")

    assert answer.status == 200
    assert "authorization" not in answer.arrived


def test_a_held_scope_opens_the_route(installation: Installation, envoy: Client) -> None:
    """`demo:*` covers the route's `demo:read`."""
    issued = installation.issue(scopes=frozenset({"demo:*"}))

    assert envoy.get("/scoped", x_api_key=issued.key_text).status == 200
    assert envoy.get("/scoped?a=1", x_api_key=issued.key_text).status == 200


def test_another_spelling_does_not_avoid_a_scope(installation: Installation, envoy: Client) -> None:
    """A key without the scope is denied on every path that a backend may read as /scoped."""
    issued = installation.issue()

    for path in ("/scoped", "/scoped/", "/scoped;a=b", "/SCOPED", "/%73coped", "/x/../scoped"):
        assert envoy.get(path, x_api_key=issued.key_text).status == 403, path


def test_the_documented_number_of_headers_fits(installation: Installation) -> None:
    """CLIENT_HEADERS headers of a client pass with every identity header. One more may not:
    beyond max_headers_count Envoy answers 500 after authz has allowed, and counts that."""
    issued = installation.issue(project_id="web", tenant_id="t-1", scopes=frozenset({"demo:read"}))
    own = [("x-api-key", issued.key_text)]  # host and accept-encoding are two more

    def status(count: int) -> int:
        more = [(f"x-{number}", "1") for number in range(count - len(own) - 2)]
        return get_status(installation.stack.envoy, own + more)

    assert status(CLIENT_HEADERS) == 200
    assert status(99) == 500
    if envoy_versions.version() >= (1, 37):  # older ones do not count it
        assert envoy_counter(installation, "request_header_limits_reached") >= 1


def test_an_exempt_path_is_exact(envoy: Client) -> None:
    """/healthz needs no key. Paths that only begin or end with it do."""
    assert envoy.get("/healthz").status == 200
    for path in ("/healthz/", "/healthz/../x", "/healthz;x", "/healthz/..;/x", "//healthz/x"):
        assert envoy.get(path).status == 401, path


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "missing_api_key"),
        ([("x-api-key", "")], "missing_api_key"),
        ([("x-api-key", "{key}"), ("x-api-key", "{key}")], "ambiguous_api_key"),
        ([("x-api-key", "{key}"), ("authorization", "Bearer {key}")], "ambiguous_api_key"),
        ([("x-api-key", "{key},{key}")], "ambiguous_api_key"),
        ([("authorization", "Bearer {key}"), ("authorization", "Bearer x")], "ambiguous_api_key"),
        ([("x-api-key", "ak_live_nonsense")], "invalid_api_key"),
        ([("x-api-key", "{key}x")], "invalid_api_key"),
    ],
)
def test_credentials_that_are_not_one_good_key(
    installation: Installation, headers: list[tuple[str, str]], code: str
) -> None:
    """Anything but exactly one good key is a 401 with its code."""
    key = installation.stack.key

    status, body = get_raw(
        installation.stack.envoy, [(name, value.format(key=key)) for name, value in headers]
    )

    assert (status, body["code"]) == (401, code)


def test_all_invalid_keys_look_alike_and_forged_ones_cost_no_lookup(
    installation: Installation,
) -> None:
    """All invalid keys have the same body, and forged ones cause no store command."""
    good = installation.stack.key
    prefix = len("ak_live_")
    unproven = {
        "59 KiB": "ak_live_" + "a" * 59 * 1024,
        "not ASCII": good.encode() + "é".encode(),
        "wrong checksum": spoil(good, len(good) - 1),
        "forged tag": sealed(spoil(good, len(good) - 7)),
        "forged secret": sealed(spoil(good, prefix + KID_LENGTH + 5)),
        "unknown kid": sealed(spoil(good, prefix)),
        "unknown pepper": sealed(spoil(good, prefix + KID_LENGTH + 1)),
    }
    envoy, bodies = installation.stack.envoy, []

    with store_commands(installation.stack.redis) as commands:
        for name, key in unproven.items():
            status, body = get_raw(envoy, [("x-api-key", key)])
            assert (status, body.pop("request_id") != "") == (401, True), name
            bodies.append(body)

    assert [body for body in bodies if body != bodies[0]] == []
    assert bodies[0]["code"] == "invalid_api_key"
    assert [command for command in commands if ":key:" in command] == []


class store_commands:  # noqa: N801  reads as what it gives
    """Collect the commands that the store gets while the block runs."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._seen: list[str] = []

    def __enter__(self) -> list[str]:
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self._seen

    def _listen(self) -> None:
        for entry in self._monitor.listen():
            if entry["command"] == "ECHO end":
                return
            self._seen.append(entry["command"])

    def __exit__(self, *_exc: object) -> None:
        self._client.echo("end")
        self._thread.join(10)
        self._monitor.__exit__(None, None, None)
        self._client.close()


def test_a_grpc_caller_gets_a_status_and_plain_text(installation: Installation) -> None:
    """401 becomes UNAUTHENTICATED, and the message is text rather than JSON."""
    target = urlsplit(installation.stack.envoy).netloc

    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/a.B/C")(b"", timeout=10)

    assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert failed.value.details() == "The request carries no API key."


def test_a_grpc_caller_over_its_limit_is_not_told_to_retry_at_once(
    installation: Installation,
) -> None:
    """429 becomes RESOURCE_EXHAUSTED, which clients do not retry, with the time to wait."""
    issued = installation.issue(limits=limits("1/h"))
    target = urlsplit(installation.stack.envoy).netloc
    key = (("x-api-key", issued.key_text),)

    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary("/a.B/C")
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as failed:
                call(b"", timeout=10, metadata=key)

    trailers = dict(failed.value.trailing_metadata())
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.value.details() == "A rate limit of this API key is used up: hour."
    assert int(trailers["retry-after"]) > 3000
    assert "ratelimit" in trailers


def test_a_route_may_report_its_refusals(own_installation: Installation) -> None:
    """The backend is told what would be denied; the key is gone, whoever wrote the mark."""
    text = own_installation.stack.key
    settings = Path(own_installation.stack.config)
    config = yaml.safe_load(settings.read_text())
    config["routes"] = [{"path": "/reported", "scopes": "a:b", "enforce": False}]
    settings.write_text(yaml.safe_dump(config))
    os.kill(own_installation.stack.pids["sidecar"], signal.SIGHUP)

    with closing(own_installation.client()) as client:
        refused = until(
            lambda: client.get("/reported", x_api_key=text, x_auth_would_deny="no"),
            lambda answer: answer.arrived.get("x-auth-would-deny") == "insufficient_scope",
        ).arrived
        unproven = client.get("/reported", authorization=f"Bearer {text[:-1]}").arrived
        allowed = client.get("/", x_api_key=text, x_auth_would_deny="no").arrived
        elsewhere = client.get("/scoped", x_api_key=text)

    assert refused["x-auth-client-id"] == "demo"
    assert "x-api-key" not in refused
    assert unproven["x-auth-would-deny"] == "invalid_api_key"
    assert not {"authorization", "x-auth-client-id"} & set(unproven)
    assert "x-auth-would-deny" not in allowed
    assert elsewhere.status == 403


def test_what_another_filter_may_use_is_in_the_access_log(
    installation: Installation, envoy: Client
) -> None:
    """The key id, the reason and a charge id arrive as dynamic metadata; no key is logged."""
    issued = installation.issue()
    log = Path(installation.stack.config).parent / "envoy.log"

    envoy.get("/logged?x=1", x_api_key=issued.key_text)

    entry = json.loads(await_line(log, "/logged"))
    assert (entry["key_id"], entry["reason"], entry["path"]) == (issued.record.kid, "ok", "/logged")
    assert len(entry["charge_id"]) > 16
    assert issued.key_text not in log.read_text()
