"""Tokens with real parts: exchange through Envoy, use at the gate, and their end with the key."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import yaml

from authz.cli.devconfig import DEMO_AUDIENCE, ISSUER_HOST
from authz.console.token_endpoint import API_KEY, GRANT, KEY_SET, METADATA, TOKEN
from authz.core.limits.limit import parse_limits
from authz.core.records import RevocationReason
from tests.support.proxy.envoys import running as envoy_running
from tests.support.real import free_port
from tests.support.system import Installation, ask, running, until

EXCHANGE = {"grant_type": GRANT, "subject_token_type": API_KEY}


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """An installation with the admin API and a signing key."""
    with running(with_admin=True) as (stack, _):
        found = Installation(stack)
        until(lambda: exchange(found, stack.key)[0], lambda status: status == 200)
        yield found


def send(installation, method, path, body="", **headers):
    """Return status and document of a request to the issuer's host behind Envoy."""
    connection = http.client.HTTPConnection(urlsplit(installation.stack.envoy).netloc, timeout=20)
    with closing(connection):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"host": ISSUER_HOST, **names})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")


def exchange(installation, key, **form):
    """Return status and document of the exchange of a key."""
    body = urlencode({**EXCHANGE, "subject_token": key, **form})
    kind = "application/x-www-form-urlencoded"
    return send(installation, "POST", TOKEN, body, content_type=kind)


def token_of(installation, key, **form):
    """Return a new token."""
    status, document = exchange(installation, key, **form)
    assert status == 200, document
    return document["access_token"]


def use(installation, token, path="/", **headers):
    """Return the answer to a request with a token."""
    with closing(installation.client()) as client:
        return client.get(path, authorization=f"Bearer {token}", **headers)


def changed(installation, token):
    """Return the refusal of a token, once there is one: on a busy machine a 503 may come first."""
    return until(lambda: str(use(installation, token)), lambda seen: seen.startswith("401"))


def status_of(look, wanted):
    """Return the status that `look` returns, as soon as it is `wanted`."""
    return until(look, lambda seen: seen == wanted)


def run(installation, *arguments, given=""):
    """Return status and document of a command."""
    command = [sys.executable, "-m", "authz.cli.main", "--config", installation.stack.config]
    done = subprocess.run(
        [*command, *arguments, "--json"],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "{}")


def test_a_token_works_with_the_rights_that_it_has(installation):
    """The backend sees the key's identity, the token's scopes and its id, and no credential."""
    issued = installation.issue(scopes=frozenset({"demo:read", "demo:write"}))
    token = token_of(installation, issued.key_text, scope="demo:write", lifetime="60")
    answer = use(installation, token, x_auth_token_id="mine", x_auth_scopes="*")

    assert answer.status == 200
    arrived = answer.arrived
    assert arrived["x-auth-key-id"] == issued.record.kid
    assert arrived["x-auth-scopes"] == "demo:write"
    assert len(arrived["x-auth-token-id"]) == 27
    assert "authorization" not in arrived
    assert str(use(installation, token, "/scoped")) == "403 insufficient_scope"
    wider = token_of(installation, issued.key_text)
    assert use(installation, wider, "/scoped").status == 200
    with closing(installation.client()) as client:
        key = client.get(x_api_key=issued.key_text, x_auth_token_id="mine")
        assert "x-auth-token-id" not in key.arrived


def test_a_token_ends_with_its_key(installation):
    """Disabling ends the token until the key is enabled, and revoking ends it for good."""
    issued = installation.issue()
    token = token_of(installation, issued.key_text)
    kid = issued.record.kid
    assert use(installation, token).status == 200

    installation.administer(lambda life: life.disable(kid, life.author("tests")))
    assert changed(installation, token) == "401 api_key_disabled"
    installation.administer(lambda life: life.enable(kid, life.author("tests")))
    assert until(lambda: use(installation, token).status, lambda seen: seen == 200) == 200
    why = RevocationReason.KEY_COMPROMISE
    installation.administer(lambda life: life.revoke(kid, why, life.author("tests")))
    assert changed(installation, token) == "401 api_key_revoked"
    assert exchange(installation, issued.key_text)[1]["error"] == "invalid_request"


def test_a_token_ends_with_the_secret_that_it_was_exchanged_for(installation):
    """After a rotation without overlap the tokens of the old secret are refused."""
    issued = installation.issue()
    token = token_of(installation, issued.key_text)
    assert use(installation, token).status == 200
    kid = issued.record.kid
    rotated = installation.administer(lambda life: life.rotate(kid, 0, life.author("tests")))

    assert changed(installation, token) == "401 api_key_rotated"
    assert use(installation, token_of(installation, rotated.key_text)).status == 200


def test_wrong_keys_get_one_answer(installation):
    """A key of nobody, a changed one and a plain text are refused alike."""
    issued = installation.issue()
    changed = issued.key_text[:-1] + ("0" if issued.key_text[-1] != "0" else "1")
    answers = {json.dumps(exchange(installation, key)) for key in ("nonsense", changed, "x" * 200)}

    assert len(answers) == 1
    assert "400" in answers.pop()


def test_an_exchange_counts_as_a_request(installation):
    """A key with one request a minute gets one token and then 429."""
    issued = installation.issue(limits=parse_limits("", ["1/h"]))
    first, _ = exchange(installation, issued.key_text)
    second, document = exchange(installation, issued.key_text)

    assert (first, second, document["error"]) == (200, 429, "temporarily_unavailable")
    with closing(installation.client()) as client:
        assert str(ask(client, issued.key_text)) == "429 rate_limited"


def test_the_documents_are_served(installation):
    """Metadata and key set are public, and nothing else of the admin API is behind this host."""
    status, metadata = send(installation, "GET", METADATA)
    assert status == 200
    assert metadata["token_endpoint"] == installation.stack.tokens
    status, key_set = send(installation, "GET", KEY_SET)
    assert (status, len(key_set["keys"])) == (200, 1)
    for path in ("/v1/keys", "/openapi.json", "/metrics", "/v1/token/../keys", "/"):
        assert send(installation, "GET", path)[0] == 404, path


def test_commands_issue_and_inspect(installation):
    """A token of the command works at the gate, and `inspect` tells its claims and its key."""
    issued = installation.issue(scopes=frozenset({"demo:read"}))
    status, document = run(installation, "tokens", "issue", given=issued.key_text)
    token = document["access_token"]
    assert status == 0
    assert use(installation, token, "/scoped").status == 200

    status, found = run(installation, "tokens", "inspect", given=token)
    assert (status, found["accepted"], found["claims"]["aud"]) == (0, True, DEMO_AUDIENCE)
    assert found["key"]["status"] == "active"
    status, found = run(installation, "tokens", "inspect", given=token[:-3] + "AAA")
    assert (status, found["reason"]) == (1, "forged")
    status, verdict = run(installation, "keys", "verify", given=token)
    assert (status, verdict["kid"]) == (0, issued.record.kid)


def test_envoys_jwt_filter_verifies_a_token_by_the_key_set_alone(installation, tmp_path):
    """An Envoy without authz accepts our token and refuses a changed one."""
    issued = installation.issue()
    token = token_of(installation, issued.key_text)
    with jwt_envoy(installation, tmp_path) as port:
        assert status_at(port, token) == 200
        assert status_at(port, token[:-4] + "AAAA") == 401
        assert status_at(port, "") == 401


@contextmanager
def jwt_envoy(installation, directory: Path) -> Iterator[int]:
    """Run an Envoy with the filter in docs/tokens.md, and yield its port."""
    page = (Path(__file__).parents[2] / "docs" / "tokens.md").read_text()
    text = page.partition("<!--jwt_authn-->\n```yaml\n")[2].partition("```")[0]
    jwt_filter = yaml.safe_load(text)
    provider = jwt_filter["typed_config"]["providers"]["authz"]
    issuer = installation.stack.tokens.removesuffix(TOKEN)
    provider |= {"issuer": issuer, "audiences": [DEMO_AUDIENCE]}
    provider["remote_jwks"]["http_uri"]["uri"] = issuer + KEY_SET
    provider["remote_jwks"]["async_fetch"] = {"fast_listener": False}
    port, admin = free_port(), free_port()
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [
            jwt_filter,
            {"name": "envoy.filters.http.router", "typed_config": {"@type": router}},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
    }
    name = "envoy.filters.network.http_connection_manager"
    place = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    behind = urlsplit(installation.stack.envoy).port
    whole = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [
                {
                    "address": place,
                    "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "authz_tokens",
                    "connect_timeout": "10s",
                    "load_assignment": {
                        "cluster_name": "authz_tokens",
                        "endpoints": [{"lb_endpoints": [endpoint(behind)]}],
                    },
                }
            ],
        },
    }
    with envoy_running(whole, directory / "jwt.yaml"):
        yield port


def endpoint(port):
    """Return an endpoint on loopback."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"endpoint": {"address": address}}


def status_at(port, token):
    """Return the status of a request with a token."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", "/", headers=headers)
        return connection.getresponse().status


def test_a_removed_signing_key_ends_its_tokens(installation):
    """The next key signs, and the gate refuses the tokens of the removed one."""
    issued = installation.issue()
    token = token_of(installation, issued.key_text)
    assert use(installation, token).status == 200
    _, listed = run(installation, "tokens", "keys", "list")
    (old,) = [key["id"] for key in listed["keys"] if key["state"] == "signs"]

    status, new = run(installation, "tokens", "keys", "rotate", "--now")
    assert status == 0
    assert run(installation, "tokens", "keys", "remove", old)[0] == 0
    assert run(installation, "tokens", "keys", "remove", old)[0] == 1
    assert changed(installation, token) == "401 invalid_api_key"

    def use_a_new_token():  # until the heartbeat, the exchange still signs with the removed key
        status, document = exchange(installation, issued.key_text)
        return use(installation, document["access_token"]).status if status == 200 else status

    assert status_of(use_a_new_token, 200) == 200
    _, listed = run(installation, "tokens", "keys", "list")
    assert [(key["id"], key["state"]) for key in listed["keys"]] == [(new["id"], "signs")]


def test_without_a_signing_key_there_are_no_tokens_and_keys_work(installation):
    """The exchange answers 503, and the gate goes on with keys. Last: it removes the keys."""
    issued = installation.issue()
    _, listed = run(installation, "tokens", "keys", "list")
    for key in listed["keys"]:
        run(installation, "tokens", "keys", "remove", key["id"])

    assert status_of(lambda: exchange(installation, issued.key_text)[0], 503) == 503
    with closing(installation.client()) as client:
        assert ask(client, issued.key_text).status == 200
