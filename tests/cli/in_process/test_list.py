"""`authz keys list`, page by page."""

import re
import subprocess

from tests.support.cli.in_process import AUTHZ, refusal
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
    runner.alter(kid, env="nowhere")
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


def listed(runner, *options):
    """Return the kids of a list."""
    document = runner.run("keys", "list", "--json", *options).document
    return [key["kid"] for key in document["keys"]]


def test_conditions_of_a_list(runner):
    """Conditions are combined, and --json tells the cost and whether a key is expired."""
    shop, _ = runner.issue("--name", "shop-1", "--metadata", "team=web")
    batch, _ = runner.issue("--name", "batch-1", client="batch")
    runner.alter(batch, expires_at="5")
    assert listed(runner, "--name", "*-1") == [shop, batch]
    assert listed(runner, "--name", "shop*", "--metadata", "team=web") == [shop]
    assert listed(runner, "--status", "active") == [shop]
    assert listed(runner, "--status", "expired") == [batch]
    assert listed(runner, "--expires-before", "1h") == [batch]
    assert listed(runner, "--created-before", "1h") == []
    assert set(listed(runner, "--plan", "")) == {shop, batch}
    document = runner.run("keys", "list", "--name", "batch*", "--json").document
    assert document["keys"][0]["expired"] is True
    assert document["cost"] == {"keys_looked_at": 2, "records_read": 1}


def test_all_and_sorted(runner):
    """--all has no pages, --sort orders all keys that fit and shows the first ones."""
    kids = [runner.issue("--name", name)[0] for name in ("b", "c", "a")]
    b, c, a = kids
    assert set(listed(runner, "--all")) == set(kids)
    assert listed(runner, "--sort", "name") == [a, b, c]
    assert listed(runner, "--sort", "-name", "--limit", "2") == [c, b]
    assert listed(runner, "--sort", "-changed", "--all") == [a, c, b]
    runner.alter(a, env="nowhere")
    document = runner.run("keys", "list", "--sort", "name", "--json").document
    assert [key["kid"] for key in document["keys"]] == [b, c, a]
    assert "--cursor" in refusal(runner.run("keys", "list", "--all", "--cursor", a))


def test_chosen_columns(runner):
    """--columns shows these columns in this order; for another name it tells all names."""
    kid, _ = runner.issue("--name", "shop", "--scope", "a:b")
    other, _ = runner.issue()
    runner.alter(other, env="nowhere")
    out = runner.run("keys", "list", "--columns", "name, kid,scopes").out.splitlines()
    assert out[0].split() == ["NAME", "KID", "SCOPES"]
    assert sorted(out[1:])[1] == f"shop  {kid}  a:b"
    assert "'nowhere'" in sorted(out[1:])[0]
    assert "there are kid, status" in refusal(runner.run("keys", "list", "--columns", "colour"))


def test_show_tells_both_numbers(runner):
    """show tells the revision of the key and the number of the change in the store."""
    kid, _ = runner.issue()
    runner.issue()
    runner.run("keys", "update", kid, "--name", "a")
    document = runner.run("keys", "show", kid, "--json").document
    assert (document["version"], document["revision"], document["expired"]) == (3, 2, False)
    out = runner.run("keys", "show", kid).out
    assert "version            3\nrevision           2 of this key; version counts" in out
    runner.valkey.admin.xdel(stored.AUDIT, "1-0")
    assert runner.run("keys", "show", kid, "--json").document["revision"] is None
