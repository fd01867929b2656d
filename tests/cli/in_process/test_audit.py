"""`authz audit`: lists, verification and copies, in this process."""

import asyncio
import csv
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from authz.cli import audit_ship
from authz.core.errors import Unavailable
from authz.process.trail_sinks import FileCursor
from authz.settings.model import load
from tests.support.cli.terminal import run
from tests.support.real import Valkey
from tests.support.storage import stored


def issue(*options: str) -> str:
    """Issue a key and return its kid."""
    return run("keys", "issue", "--client", "acme-web", *options, "--json").document["kid"]


def verify(*options: str) -> tuple[int, dict]:
    """Verify the trail. Return the exit code and the document."""
    found = run("audit", "verify", *options, "--json")
    return found.code, found.document


def events(*options: str) -> list[dict]:
    """Return the events of `audit list`."""
    return run("audit", "list", *options, "--json").document["events"]


def test_the_list_has_every_change_newest_first(store: Path):
    """Filters narrow it: author, key, client, kind, time."""
    first = issue()
    second = run("keys", "issue", "--client", "globex", "--json").document["kid"]
    run("keys", "disable", first, "--note", "too many calls")
    found = events()
    assert [(one["action"], one["kid"]) for one in found] == [
        ("disable", first),
        ("issue", second),
        ("issue", first),
    ]
    assert found[0]["note"] == "too many calls"
    assert [one["version"] for one in found] == [3, 2, 1]
    assert len(events("--kid", first)) == 2
    assert len(events("--client", "globex")) == 1
    assert len(events("--action", "issue")) == 2
    assert events("--actor", "nobody") == []
    assert len(events("--actor", found[0]["actor"])) == 3
    assert len(events("--since", "1h")) == 3
    assert events("--until", "1h") == []
    page = run("audit", "list", "--limit", "2", "--json").document
    assert (len(page["events"]), page["more"]) == (2, True)
    assert "disable" in run("audit", "list").out


def test_an_expiry_is_an_event(store: Path):
    """An expiry is listed at its time, unless the key was revoked before."""
    expiring = issue("--expires-in", "1ms")
    revoked = issue("--expires-in", "90d")
    run("keys", "revoke", revoked, "--reason", "key_compromise")
    found = events("--action", "expire")
    assert [(one["kid"], one["action"], one["id"]) for one in found] == [(expiring, "expire", None)]
    assert [one["action"] for one in events("--kid", expiring)] == ["expire", "issue"]


def test_csv_runs_no_formula(store: Path):
    """A cell that a spreadsheet would run is marked as text."""
    issue("--note", '=HYPERLINK("http://x")')
    rows = list(csv.DictReader(io.StringIO(run("audit", "list", "--csv").out)))
    assert [row["action"] for row in rows] == ["issue"]
    assert rows[0]["note"].startswith("'=")
    assert json.loads(rows[0]["detail"])["client_id"] == "acme-web"


def test_an_honest_trail_is_intact(store: Path):
    """The report says what is sealed and what is not."""
    issue()
    code, found = verify()
    assert (code, found["intact"], found["checkpoints"], found["unsealed_rows"]) == (0, True, 0, 1)
    assert "rows not sealed yet: 1, the oldest of 20" in run("audit", "verify").out
    assert verify("--max-unsealed", "1h")[0] == 0
    code, found = verify("--max-unsealed", "0")
    assert (code, [one["problem"] for one in found["findings"]]) == (1, ["unsealed"])
    assert run("audit", "seal").out == "rows sealed: 1\n"
    assert run("audit", "seal").out == "every row is sealed already\n"
    code, found = verify("--max-unsealed", "0")
    assert (code, found["sealed_until_change"], found["unsealed_rows"]) == (0, 1, 0)
    assert "the trail is intact" in run("audit", "verify").out


def test_a_change_of_a_row_is_found(store: Path, valkey: Valkey):
    """The row is named, and the exit code is 1."""
    issue()
    issue()
    ((row_id, fields), (_, other)) = stored.audit_rows(valkey.admin)
    valkey.admin.delete(stored.AUDIT)
    valkey.admin.xadd(stored.AUDIT, fields | {"actor": "mallory"}, id=row_id)
    valkey.admin.xadd(stored.AUDIT, other, id="2-0")
    code, found = verify()
    assert (code, [(f["problem"], f["at"]) for f in found["findings"]]) == (1, [("altered", "1-0")])
    assert "altered  1-0" in run("audit", "verify").out
    assert run("audit", "seal").code == 1


def test_a_trail_of_older_versions_is_told(store: Path, valkey: Valkey):
    """Entries without a mark at the beginning are named; later ones need an explanation."""
    issue()
    ((row_id, fields),) = stored.audit_rows(valkey.admin)
    unmarked = {name: text for name, text in fields.items() if name != "mac"}
    valkey.admin.delete(stored.AUDIT)
    valkey.admin.xadd(stored.AUDIT, unmarked, id=row_id)
    issue()
    code, found = verify()
    assert (code, found["unmarked_rows"], found["unmarked_until_change"]) == (0, 1, 1)
    valkey.admin.xadd(stored.AUDIT, {**unmarked, "base": "0", "kid": "k" * 16}, id="3-0")
    valkey.admin.set(stored.SEQ, 3)
    assert verify()[0] == 1
    assert verify("--unmarked-until", "3")[0] == 0
    valkey.admin.xdel(stored.AUDIT, "1-0")
    assert "--trimmed-before" in run("audit", "verify", "--unmarked-until", "3").out
    assert verify("--unmarked-until", "3", "--trimmed-before", "2")[0] == 0


def test_a_copy_shows_an_older_state_that_was_put_back(store: Path, valkey: Valkey):
    """The store alone looks honest. The copy has rows that it lacks."""
    issue()
    before = valkey.admin.dump(stored.AUDIT)
    issue()
    run("audit", "seal")
    assert run("audit", "ship", "--to", "file:copy.jsonl").out == "3 rows were delivered\n"
    assert verify("--copy", "copy.jsonl")[0] == 0
    assert verify("--file", "copy.jsonl")[0] == 0
    valkey.admin.restore(stored.AUDIT, 0, before, replace=True)
    valkey.admin.set(stored.SEQ, 1)
    Path(".authz-pepper-1.state").unlink(missing_ok=True)
    assert verify()[0] == 0
    code, found = verify("--copy", "copy.jsonl")
    assert (code, [one["problem"] for one in found["findings"]]) == (1, ["missing", "missing"])


def test_a_copy_goes_on_where_it_stopped(store: Path):
    """Each row is delivered once while nothing fails; a torn line is removed first."""
    issue()
    assert run("audit", "ship", "--to", "file:copy.jsonl", "--json").document == {"rows": 1}
    assert run("audit", "ship", "--to", "file:copy.jsonl", "--json").document == {"rows": 0}
    with Path("copy.jsonl").open("a") as file:
        file.write('{"id": "2-0", "ro')
    issue()
    assert run("audit", "ship", "--to", "file:copy.jsonl", "--json").document == {"rows": 1}
    ids = [json.loads(line)["id"] for line in Path("copy.jsonl").read_text().splitlines()]
    assert ids == ["1-0", "2-0"]
    assert Path("copy.jsonl.cursor").read_text() == "2-0\n"
    Path("copy.jsonl.cursor").unlink()  # then everything is delivered again
    run("audit", "ship", "--to", "file:copy.jsonl")
    assert verify("--file", "copy.jsonl")[0] == 0
    assert verify("--copy", "copy.jsonl")[0] == 0


def test_an_altered_copy_is_found(store: Path):
    """Alone by the marks, and beside the store by comparison."""
    issue()
    issue()
    run("audit", "seal")
    run("audit", "ship", "--to", "file:copy.jsonl")
    copy = Path("copy.jsonl")
    copy.write_text(copy.read_text().replace("acme-web", "acme-www", 1))
    assert {f["problem"] for f in verify("--file", "copy.jsonl")[1]["findings"]} == {
        *("altered", "broken"),
    }
    assert [f["problem"] for f in verify("--copy", "copy.jsonl")[1]["findings"]] == ["altered"]


class Receiver(BaseHTTPRequestHandler):
    """Remembers requests. The first one gets 503."""

    requests: list[tuple[str, dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        """Remember a request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.path, dict(self.headers), body))
        self.send_response(503 if len(self.requests) == 1 else 202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Write no lines."""


@pytest.fixture
def receiver():
    """The URL of a receiver on loopback, and its requests."""
    Receiver.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", Receiver.requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_receiver_that_fails_gets_the_rows_again(store: Path, receiver):
    """The cursor moves after the confirmation only."""
    url, requests = receiver
    issue()
    Path("headers").write_text("Authorization: Bearer secret-of-the-receiver\n")
    options = ("--to", f"{url}/in", "--cursor", "cursor", "--header-file", "headers")
    failed = run("audit", "ship", *options)
    assert (failed.code, Path("cursor").exists()) == (3, False)
    assert "answered 503" in failed.error
    assert run("audit", "ship", *options).code == 0
    assert run("audit", "ship", *options).code == 0
    assert [path for path, _, _ in requests] == ["/in", "/in"]
    assert requests[0][2] == requests[1][2]
    assert requests[1][1]["Authorization"] == "Bearer secret-of-the-receiver"
    assert json.loads(requests[1][2])["row"]["action"] == "issue"


def test_rows_become_log_records_of_otlp(store: Path, receiver, monkeypatch):
    """One record for each row, with the time of the change."""
    url, requests = receiver
    requests.append(("", {}, b""))  # so that the next request is confirmed
    monkeypatch.setenv("AUTHZ_TELEMETRY__OTLP__ENDPOINT", url)
    kid = issue()
    assert run("audit", "ship", "--to", "otlp", "--cursor", "cursor").code == 0
    path, headers, body = requests[1]
    assert (path, headers["Content-Type"]) == ("/v1/logs", "application/json")
    ((record,),) = [
        scope["logRecords"] for scope in json.loads(body)["resourceLogs"][0]["scopeLogs"]
    ]
    attributes = {one["key"]: one["value"]["stringValue"] for one in record["attributes"]}
    assert (attributes["authz.audit.kid"], attributes["authz.audit.id"]) == (kid, "1-0")
    assert len(record["timeUnixNano"]) == 19


def test_following_survives_a_receiver_that_fails(store: Path, receiver):
    """`--follow` waits and delivers the rows again, and later rows too."""
    url, requests = receiver
    issue()
    rounds = []

    class EnoughError(Exception):
        pass

    async def wait(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            await asyncio.to_thread(issue)
        if len(rounds) == 3:
            raise EnoughError

    settings = load(None, {})
    sink = audit_ship._sink(settings, url, {}, None)
    with pytest.raises(EnoughError):
        asyncio.run(audit_ship._ship(settings, sink, Path("cursor"), follow=True, wait=wait))
    assert [json.loads(body)["id"] for _, _, body in requests] == ["1-0", "1-0", "2-0"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("ship", "--to", "ftp://x"), "file:PATH, https://HOST/PATH or otlp"),
        (("ship", "--to", "file:"), "file:PATH"),
        (("ship", "--to", "http://example.com/", "--cursor", "c"), "https is needed"),
        (("ship", "--to", "https://example.com/"), "--cursor: is needed here"),
        (("ship", "--to", "otlp", "--cursor", "c"), "telemetry.otlp.endpoint"),
        (("ship", "--to", "file:x", "--header-file", "absent"), "No such file"),
        (("ship", "--to", "file:x", "--cursor", "garbled"), "holds no id"),
        (("list", "--since", "yesterday"), "such as 24h"),
        (("list", "--limit", "0"), "a number from 1 to 100000"),
        (("list", "--kid", "x"), "--kid"),
        (("list", "--csv", "--json"), "give one of them"),
        (("verify", "--file", "absent"), "No such file"),
        (("verify", "--file", "garbled"), "line 1 is no row"),
        (("verify", "--copy", "garbled"), "line 1 is no row"),
        (("verify", "--copy", "a", "--file", "b"), "give one of them"),
        (("verify", "--trimmed-before", "-1"), "the number of a change"),
        (("verify", "--max-unsealed", "soon"), "--max-unsealed"),
    ],
)
def test_bad_input_is_named(store: Path, arguments: tuple[str, ...], problem: str):
    """A mistake is wrong usage, in one line."""
    Path("garbled").write_text("{}\n")
    found = run("audit", *arguments)
    assert found.code == 2
    assert problem in found.error


def test_a_cursor_that_cannot_be_written_is_a_fault(tmp_path: Path):
    """The rows were delivered and will be again."""
    with pytest.raises(Unavailable, match="No such file"):
        FileCursor(tmp_path / "absent" / "cursor").save("1-0")
