"""`authz keys list`, page by page."""

import re
import subprocess

from tests.support.cli.in_process import AUTHZ
from tests.support.storage import stored


def test_pages_follow_each_other(runner):
    """The cursor of each page leads to the next one. The last page has none."""
    kids = [runner.issue()[0] for _ in range(5)]
    seen, cursor = [], []
    for expected in (2, 2, 1):
        page = runner.run("keys", "list", "--limit", "2", "--json", *cursor).document
        assert len(page["keys"]) == expected
        seen += [key["kid"] for key in page["keys"]]
        cursor = ["--cursor", page["next"]]
    assert page["next"] is None
    assert sorted(seen) == sorted(kids)


def test_list_as_text(runner):
    """Each key has a line, and stderr shows the next cursor."""
    first, _ = runner.issue("--name", "the shop")
    runner.issue(client="acme-batch")
    done = runner.run("keys", "list", "--limit", "1")
    assert re.match(r"KID +STATUS +ENV +CLIENT +EXPIRES +NAME\n", done.out)
    assert re.search(rf"{first}  active  live  acme-web  20\S+Z  the shop\n", done.out)
    assert re.fullmatch(rf"there may be more: continue with --cursor {first}-\d{{13}}\n", done.err)


def test_list_of_an_unreadable_record(runner):
    """An unreadable record is a line of the list and an entry of the document, with its fault."""
    kid, _ = runner.issue()
    runner.issue()
    runner.valkey.admin.hset(stored.key(kid), "env", "nowhere")
    entries = runner.run("keys", "list", "--json").document["keys"]
    assert [entry["kid"] for entry in entries if "unreadable" in entry] == [kid]
    assert len(entries) == 2
    assert re.search(rf"{kid}  unreadable .* 'nowhere'", runner.run("keys", "list").out)


def test_list_behind_a_closed_pipe(runner):
    """`| head -1` gets its line, and stderr stays empty."""
    for _ in range(20):
        runner.issue()
    command = f"'{AUTHZ[0]}' -c '{AUTHZ[2]}' keys list | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout.split()[0], done.stderr) == ("KID", "")
