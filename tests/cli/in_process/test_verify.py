"""`authz keys verify`: the decision on a key, and its reason."""

import json
import re

import pytest

from tests.support.cli.in_process import refusal


def test_verify_allows(runner):
    """Every check has a line, and the exit code is 0."""
    kid, text = runner.issue("--scope", "a:b", "--cidr", "10.0.0.0/8", "--host", "*.example.com")
    request = ("--scope", "a:b", "--ip", "10.1.2.3", "--host", "API.example.com:443")
    done = runner.run("keys", "verify", *request, stdin=f"{text}\n")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"\nallow: {kid} of client acme-web\n")
    assert len(done.out.splitlines()) == 17
    document = runner.run("keys", "verify", "--json", *request, stdin=text).document
    assert (document["decision"], document["status"], document["kid"]) == ("allow", 200, kid)
    assert {check["result"] for check in document["checks"]} == {"ok"}


@pytest.mark.parametrize(
    ("options", "check", "why"),
    [
        (("--ip", "11.0.0.1"), "address", "'11.0.0.1'; allowed 10.0.0.0/8"),
        ((), "address", "no --ip; allowed 10.0.0.0/8"),
        (("--ip", "10.0.0.1", "--scope", "c:d"), "scope", "required c:d; held a:b"),
        (("--ip", "10.0.0.1", "--env", "test"), "environment", "key live; route test"),
    ],
)
def test_verify_denies(runner, options, check, why):
    """The denying check has its reason and the compared facts. The exit code is 1."""
    _, text = runner.issue("--scope", "a:b", "--cidr", "10.0.0.0/8")
    done = runner.run("keys", "verify", *options, stdin=text)
    assert done.code == 1
    assert re.search(rf"^{check} +DENY  {re.escape(why)}$", done.out, re.MULTILINE)
    document = runner.run("keys", "verify", "--json", *options, stdin=text).document
    assert document["reason"] in done.out
    (found,) = [entry for entry in document["checks"] if entry["result"] == "deny"]
    assert (found["check"], found["reason"], found["why"]) == (check, document["reason"], why)


def test_verify_goes_by_the_environment_of_the_settings(runner, monkeypatch):
    """Without --env, check.env decides."""
    _, text = runner.issue()
    monkeypatch.setenv("AUTHZ_CHECK__ENV", "test")
    assert "key live; route test" in runner.run("keys", "verify", stdin=text).out
    assert runner.run("keys", "verify", "--env", "live", stdin=text).code == 0


def test_verify_shows_no_key(runner):
    """No answer contains the key, whatever is wrong with it."""
    _, text = runner.issue()
    for given in (text, text[:-1], text.replace("_", "-"), f"{text},{text}", text.upper()):
        done = runner.run("keys", "verify", stdin=given)
        assert text[30:-7] not in done.out + done.err
        assert text[30:-7].upper() not in done.out + done.err


@pytest.mark.parametrize(
    "stdin",
    ["", " \n", "a\nb\n", "x" * 5000, b"\xff\xfe"],
    ids=["empty", "blank", "two lines", "long", "not text"],
)
@pytest.mark.parametrize("command", [("verify",), ("revoke", "--key-stdin")], ids=" ".join)
def test_stdin_without_a_key(runner, command, stdin):
    """Anything but one line on stdin is wrong usage, in one line."""
    assert "stdin: " in refusal(runner.run("keys", *command, stdin=stdin))


@pytest.mark.parametrize(
    "wrapped", ['API_KEY="{}"', "export API_KEY={}", "x-api-key: {}", "Authorization: Bearer {}"]
)
def test_verify_finds_the_key_in_pasted_text(runner, wrapped):
    """An assignment and a header are not part of the key."""
    kid, text = runner.issue()
    done = runner.run("keys", "verify", stdin=f"{wrapped.format(text)}\n")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"\nallow: {kid} of client acme-web\n")


def test_verify_names_the_kid_of_a_key_that_is_cut_off(runner):
    """The secret is not there, so nothing is proven; the kid helps to find the key."""
    kid, text = runner.issue()
    for given in (text[:-1], text[:30], f"Authorization: Bearer {text[:26]}..."):
        done = runner.run("keys", "verify", stdin=given)
        assert done.code == 1
        assert re.search(rf"DENY  mistyped or cut off; it names {kid}$", done.out, re.MULTILINE)
        assert runner.run("keys", "verify", "--json", stdin=given).document["kid"] == kid


def test_verify_shows_what_envoy_would_send_and_what_the_caller_is_told(runner):
    """With --header or --carrier; the key is masked everywhere."""
    kid, text = runner.issue("--scope", "a:b")
    options = ("--scope", "c:d", "--carrier", "authorization: Bearer", "--header", "X-Team: red")
    options += ("--header", "x-team: blue", "--header", "x-request-id: id-1")
    done = runner.run("keys", "verify", "--json", *options, stdin=text)
    document = done.document
    assert document["envoy"]["headers"] == {
        "authorization": f"bearer ak_live_{kid}_...",
        "x-request-id": "id-1",
        "x-team": "red,blue",
    }
    assert document["envoy"]["context_extensions"] == {"scopes": "c:d"}
    told = document["caller"]
    assert (told["status"], told["body"]["code"]) == (403, "insufficient_scope")
    assert told["body"]["request_id"] == "id-1"
    assert 'scope="c:d"' in told["headers"]["www-authenticate"]
    lines = runner.run("keys", "verify", *options, stdin=text).out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["sent", "caller", "deny:"]
    assert text[30:-7] not in done.out + "\n".join(lines)


def test_verify_shows_the_path_without_a_key_in_the_query(runner, monkeypatch):
    """The parameter is named as removed, and the other parameters stay."""
    monkeypatch.setenv("AUTHZ_EXTRACT__QUERY", "api_key")
    _, text = runner.issue()
    options = ("--json", "--carrier", "query", "--path", "/a?b=%2F&flag")
    done = runner.run("keys", "verify", *options, stdin=text)
    backend = done.document["backend"]
    assert backend["path"] == "/a?b=%2F&flag"
    assert backend["removed_parameters"] == ["api_key"]
    assert ":path" not in backend["headers"]
    assert text[30:-7] not in done.out


def test_verify_shows_what_the_backend_is_told(runner):
    """Identity headers that are set, and what is removed."""
    kid, text = runner.issue()
    done = runner.run("keys", "verify", "--json", "--carrier", "x-api-key", stdin=text)
    backend = done.document["backend"]
    assert backend["headers"]["x-auth-key-id"] == kid
    assert {"x-api-key", "x-auth-would-deny"} <= set(backend["removed_headers"])


@pytest.mark.parametrize(
    ("carrier", "reason"),
    [
        ("x-api-key", None),
        ("authorization: bearer", None),
        ("authorization: Token", "misplaced_credential"),
        ("authorization", "misplaced_credential"),
        ("basic:username", "misplaced_credential"),
        ("x-other", "missing_credential"),
    ],
)
def test_verify_reads_the_carrier_as_a_check_does(runner, carrier, reason):
    """A key that stands elsewhere is not taken, or refused."""
    _, text = runner.issue()
    done = runner.run("keys", "verify", "--json", "--carrier", carrier, stdin=text)
    assert done.document["reason"] == reason
    assert text[30:-7] not in done.out


def test_verify_says_that_an_imported_key_is_not_read_after_a_scheme(runner):
    """The pasted text names the carrier."""
    text = "sk-0123456789abcdef"
    runner.run("keys", "import", stdin=f'{{"key": "{text}", "client": "acme-web"}}')
    assert runner.run("keys", "verify", stdin=text).code == 0
    done = runner.run("keys", "verify", "--json", stdin=f"Authorization: Bearer {text}")
    assert done.document["reason"] == "unrecognized_credential"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--header", "nonsense"), "is not a header"),
        (("--header", "x: a\nb"), "is not a header"),
        (("--carrier", "a b c"), "`header: Scheme`"),
        (("--carrier", "query"), "no extract.query"),
    ],
)
def test_verify_refuses_headers_and_carriers_that_are_none(runner, options, problem):
    """In one line that shows a good value."""
    _, text = runner.issue()
    assert problem in refusal(runner.run("keys", "verify", *options, stdin=text))


def test_verify_takes_no_key_as_an_argument(runner):
    """Every process of the machine sees arguments."""
    _, text = runner.issue()
    line = refusal(runner.run("keys", "verify", "--header", f"x-api-key: {text}", stdin=text))
    assert "contains a key" in line
    assert text[30:-7] not in line


def test_verify_says_that_a_refusal_is_not_enforced(runner, monkeypatch):
    """As a Check does, by check.enforce; the exit code still says deny."""
    _, text = runner.issue()
    monkeypatch.setenv("AUTHZ_CHECK__ENFORCE", "false")
    done = runner.run("keys", "verify", "--env", "test", "--carrier", "x-api-key", stdin=text)
    assert done.code == 1
    assert done.out.endswith(
        "deny: wrong_environment; not enforced: the backend is told would-deny wrong_environment\n"
    )
    assert "x-auth-would-deny: wrong_environment" in done.out


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (("--model", "gpt-4o"), 0, ""),
        (("--model", "gpt-5"), 1, "required models:gpt-5:generate; held models:gpt-4o:generate"),
        ((), 1, "required models:?:generate; held models:gpt-4o:generate"),
    ],
)
def test_verify_takes_the_model_of_the_body(runner, monkeypatch, options, code, why):
    """A route whose path has no model takes that of --model, as a Check takes that of Envoy."""
    _, text = runner.issue("--scope", "models:gpt-4o:generate")
    rule = [{"path": "/v1/chat", "scopes": "models:{model}:generate"}]
    monkeypatch.setenv("AUTHZ_ROUTES", json.dumps(rule))
    done = runner.run("keys", "verify", "--path", "/v1/chat", *options, stdin=text)
    assert (done.code, done.err) == (code, "")
    assert why in done.out
