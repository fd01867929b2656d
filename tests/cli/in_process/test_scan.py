"""`authz scan`."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from authz.cli.main import MISUSED, UNAVAILABLE
from authz.cli.scan import FOUND, MOST_LOOKED_UP, NOT_SEARCHED, scan
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.keys.scanning import MAX_READINGS
from authz.flows.identification import Identification
from authz.storage import schema
from tests.support.storage import stored

ROOT = Path(__file__).parents[3]


def repository(folder, **files):
    """Make a git repository with one commit."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "m")):
        subprocess.run(("git", *words), cwd=folder, check=True)
    return folder


def test_a_clean_tree(runner):
    """A tree without keys exits with 0."""
    (runner.directory / "src").mkdir()
    done = runner.run("scan", "src")
    assert (done.code, done.out) == (0, "no key was found; searched 0 files\n")


def test_a_key_in_a_file(runner):
    """The report names place, kid, client and status, and never the whole key."""
    kid, text = runner.issue()
    (runner.directory / "a.py").write_text(f"\nKEY = '{text}'\n")
    done = runner.run("scan", "a.py")
    assert (done.code, done.err) == (FOUND, "")
    assert done.out.splitlines() == [
        f"a.py:2: ak_live_{kid}_... (client acme-web, active: it works)",
        "1 key in 1 place; searched 1 file",
    ]
    (row,) = runner.run("scan", "a.py", "--json").document["found"]
    assert (row["kid"], row["client"], row["standing"]) == (kid, "acme-web", "live")
    assert (row["line"], row["offset"], row["revoked_now"]) == (2, 8, False)


def test_the_whole_key_is_nowhere(runner):
    """No form of the report holds a secret, also if a path or an imported key does."""
    _, text = runner.issue()
    imported = "sk-0123456789abcdef0123"
    (runner.directory / "authz.yaml").write_text("keys: {imported_prefixes: [sk-]}\n")
    repository(runner.directory / "r", **{f"{text}.txt": text, f"{imported}.txt": imported})
    for options in ((), ("--json",), ("--sarif",)):
        done = runner.run("--config", "authz.yaml", "scan", "--git", "r", *options)
        assert done.code == FOUND
        assert text[30:50] not in done.out + done.err
        assert imported not in done.out + done.err


def test_stdin(runner):
    """`-` searches stdin and counts its lines."""
    kid, text = runner.issue()
    done = runner.run("scan", "-", stdin=f"\n\n{text}")
    assert (done.code, done.out.splitlines()[0]) == (
        FOUND,
        f"stdin:3: ak_live_{kid}_... (client acme-web, active: it works)",
    )
    assert runner.run("scan", "-", stdin="nothing").code == 0


def test_the_search_before_a_commit(runner):
    """The line of the help finds an added key, also with colors. The page has the same line."""
    _, text = runner.issue()
    folder = repository(runner.directory / "r", a="a")
    subprocess.run(("git", "config", "color.ui", "always"), cwd=folder, check=True)
    (folder / "a").write_text(text)
    subprocess.run(("git", "add", "-A"), cwd=folder, check=True)
    (example,) = re.findall(r"git diff --cached.*? authz scan -", scan.help, re.DOTALL)
    line = " ".join(example.split())
    assert f"\n{line}\n" in (ROOT / "docs/leaks.md").read_text()
    added = line.removesuffix(" | authz scan -")
    given = subprocess.check_output(("sh", "-c", added), cwd=folder, text=True)
    assert runner.run("scan", "-", stdin=given).code == FOUND


def test_history(runner):
    """--git finds a key that a later commit has removed, and names the commit."""
    kid, text = runner.issue()
    folder = repository(runner.directory / "r", a=text)
    (folder / "a").write_text("clean")
    assert runner.run("scan", "r").code == 0
    (row,) = runner.run("scan", "--git", "r", "--json").document["found"]
    head = subprocess.check_output(("git", "rev-parse", "HEAD"), cwd=folder, text=True).strip()
    assert (row["kid"], row["path"], row["commit"]) == (kid, "a", head)


def test_without_a_store(runner):
    """Without a pepper file the settings' prefix is enough."""
    kid, text = runner.issue()
    (runner.directory / "a").write_text(text)
    (runner.directory / "authz-pepper-1").unlink()
    done = runner.run("scan", "a")
    assert (done.code, done.out.splitlines()[0]) == (FOUND, f"a:1: ak_live_{kid}_...")


def test_a_store_that_cannot_be_reached(runner):
    """Keys are reported without their status. With --revoke the command fails."""
    kid, text = runner.issue()
    (runner.directory / "a").write_text(text)
    gone = ("--redis", "redis://127.0.0.1:1/0")
    done = runner.run(*gone, "scan", "a")
    assert (done.code, done.out.splitlines()[0]) == (FOUND, f"a:1: ak_live_{kid}_...")
    assert "the store was not asked" in done.err
    assert runner.run(*gone, "scan", "--revoke", "a").code == UNAVAILABLE
    assert runner.status(kid) == "active"


def test_revoke(runner):
    """--revoke revokes the keys that work, with the place in the audit trail."""
    kid, text = runner.issue()
    (runner.directory / "a").write_text(f"\n{text} {text}")
    done = runner.run("scan", "--revoke", "a")
    assert (done.code, runner.status(kid)) == (FOUND, "revoked")
    assert done.out.splitlines()[0] == f"a:2: ak_live_{kid}_... (client acme-web, revoked now)"
    (entry, *_) = runner.run("audit", "list", "--json").document["events"]
    assert (entry["action"], entry["note"]) == ("revoke", "found by authz scan in a:2")
    assert "key_compromise" in json.dumps(entry)
    again = runner.run("scan", "--revoke", "a", "--json").document["found"]
    assert {row["standing"] for row in again} == {"ended"}


def test_a_rotated_secret_revokes_nothing(runner):
    """A secret that was rotated away is reported, and the key with its new secret works on."""
    kid, text = runner.issue()
    runner.run("keys", "rotate", kid, "--grace", "0")
    (runner.directory / "a").write_text(text)
    done = runner.run("scan", "--revoke", "a")
    assert (done.code, runner.status(kid)) == (FOUND, "active")
    assert done.out.splitlines()[0] == f"a:1: ak_live_{kid}_... (client acme-web, no longer works)"


def test_a_canary_key_is_not_revoked(runner):
    """--revoke leaves a decoy where it is, so that its uses are still reported."""
    done = runner.run("keys", "issue", "--client", "decoy", "--canary", "--json")
    kid, text = (done.document[name] for name in ("kid", "key"))
    (runner.directory / "a").write_text(text)
    done = runner.run("scan", "--revoke", "a")
    assert (done.code, runner.status(kid)) == (FOUND, "canary")
    about = "client decoy, canary: it never works, and each use is reported"
    assert done.out.splitlines()[0] == f"a:1: ak_live_{kid}_... ({about})"
    (result,) = json.loads(runner.run("scan", "a", "--sarif").out)["runs"][0]["results"]
    assert result["level"] == "warning"
    (finding,) = json.loads(runner.run("scan", "a", "--json").out)["found"]
    assert (finding["standing"], finding["canary"]) == ("live", True)


def test_a_record_that_cannot_be_read_saves_no_other_key(runner):
    """--revoke revokes the other keys, prints the report, and names the key that it could not."""
    made = [runner.issue() for _ in range(4)]
    (runner.directory / "a").write_text("\n".join(text for _, text in made))
    broken = [kid for kid, _ in made[:2]]
    for kid in broken:
        runner.valkey.admin.hset(stored.key(kid), "status", "garbled")
    done = runner.run("scan", "--revoke", "a")
    assert done.code == UNAVAILABLE
    assert [runner.status(kid) for kid, _ in made[2:]] == ["revoked", "revoked"]
    assert done.out.count("revoked now") == 2
    for kid in broken:
        (line,) = [line for line in done.err.splitlines() if kid in line]
        assert line.startswith(f"not revoked: {kid}: ")
    assert "2 of the keys are not revoked: if a newer version wrote a record" in done.err


def test_a_path_that_no_file_can_have(runner):
    """A name that is too long is a place that cannot be searched, also with --git."""
    for options in ((), ("--git",)):
        done = runner.run("scan", *options, "a" * 300)
        assert done.code == NOT_SEARCHED
        assert "File name too long" in done.err


def test_history_of_a_partial_clone(runner):
    """A clone without the contents of its history is not clean: exit code 2."""
    _, text = runner.issue()
    source = repository(runner.directory / "r", a=text, b="b")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (
        ("config", "uploadpack.allowFilter", "true"),
        ("rm", "-q", "a"),
        (*who, "commit", "-qm", "m"),
        ("clone", "-q", "--filter=blob:none", f"file://{source}", "../part"),
    ):
        subprocess.run(("git", *words), cwd=source, check=True)
    done = runner.run("scan", "--git", "part")
    assert (done.code, "the clone is partial" in done.err) == (NOT_SEARCHED, True)
    assert "clone without --filter" in done.err


def test_a_key_of_another_installation(runner):
    """A key with the same prefix that was not made here is reported as such."""
    text = Keyring("ak", [Pepper.expand("1", b"p" * 32)]).mint("live").text
    (runner.directory / "a").write_text(text)
    done = runner.run("scan", "--revoke", "a")
    assert done.code == FOUND
    assert "(not a key of this installation)" in done.out


def test_a_key_whose_pepper_is_missing(runner):
    """A key whose pepper is missing here is not taken for one of another installation."""
    both = Keyring("ak", [Pepper.expand(one, os.urandom(32)) for one in "12"])
    runner.valkey.admin.hset(schema.DEFAULT.meta, "pepper:2", both.fingerprints["2"])
    done = runner.run("scan", "-", stdin=both.mint("live").text)
    assert done.code == FOUND
    assert "its pepper is missing here, so it may be a key that works" in done.out


def test_imported_keys(runner):
    """A text with a declared prefix is possible. The store tells whether it is a key."""
    key, other = "sk-0123456789abcdef0123", "sk-ffffffffffffffffffff"
    (runner.directory / "authz.yaml").write_text("keys: {imported_prefixes: [sk-]}\n")
    runner.run("keys", "import", stdin=json.dumps({"key": key, "client": "acme-web"}))
    (runner.directory / "a").write_text(f"{key}\n{other}\n")
    config = ("--config", "authz.yaml")
    done = runner.run(*config, "scan", "a")
    assert done.out.splitlines() == [
        "a:1: sk-... (perhaps an imported key, client acme-web, active: it works)",
        "1 key in 1 place; searched 1 file",
    ]
    (runner.directory / "authz-pepper-1").rename(runner.directory / "elsewhere")
    assert len(runner.run(*config, "scan", "a", "--json").document["found"]) == 2


def test_an_imported_key_between_signs(runner):
    """The store tells where the key ends, and every place is of one key."""
    key = "sk-0123456789abcdef0123"
    (runner.directory / "authz.yaml").write_text("keys: {imported_prefixes: [sk-]}\n")
    runner.run("keys", "import", stdin=json.dumps({"key": key, "client": "acme-web"}))
    (runner.directory / "a").write_text(f"KEY={key}\nIt is {key}.\nhttps://x/{key}/v1/?k={key}=\n")
    done = runner.run("--config", "authz.yaml", "scan", "a", "--revoke")
    assert done.out.splitlines() == [
        "a:1: sk-... (perhaps an imported key, client acme-web, revoked now)",
        "a:2: sk-... (perhaps an imported key, client acme-web, revoked now)",
        "a:3: sk-... (perhaps an imported key, client acme-web, revoked now)",
        "a:3: sk-... (perhaps an imported key, client acme-web, revoked now)",
        "1 key in 4 places; searched 1 file",
    ]


def test_many_texts_that_may_be_keys(runner, monkeypatch):
    """The store is asked for a bounded number of texts at once, however many a file has."""
    key, asked, identify = "sk-0123456789abcdef0123", [], Identification.identify

    async def counted(self, texts):
        asked.append(len(texts))
        return await identify(self, texts)

    monkeypatch.setattr(Identification, "identify", counted)
    (runner.directory / "authz.yaml").write_text("keys: {imported_prefixes: [sk-]}\n")
    runner.run("keys", "import", stdin=json.dumps({"key": key, "client": "acme-web"}))
    lines = [f"sk-{number:020}{'.a' * 20}\n" for number in range(600)]
    (runner.directory / "a").write_text("".join([*lines, f"{key}.\n"]))
    done = runner.run("--config", "authz.yaml", "scan", "a", "--json")
    assert [row["line"] for row in done.document["found"]] == [601]
    assert sum(asked) == 600 * MAX_READINGS + 2
    assert max(asked) <= MOST_LOOKED_UP


def test_an_imported_key_whose_record_cannot_be_read(runner):
    """The key may work, so it is found, and --revoke does not call it revoked."""
    key = "sk-0123456789abcdef0123"
    (runner.directory / "authz.yaml").write_text("keys: {imported_prefixes: [sk-]}\n")
    runner.run("keys", "import", stdin=json.dumps({"key": key, "client": "acme-web"}))
    (kid,) = (row["kid"] for row in runner.run("keys", "list", "--json").document["keys"])
    runner.valkey.admin.hset(stored.key(kid), "status", "garbled")
    (runner.directory / "a").write_text(key)
    assert runner.run("--config", "authz.yaml", "scan", "a").code == FOUND
    assert runner.run("--config", "authz.yaml", "scan", "a", "--revoke").code == UNAVAILABLE


def test_a_place_that_cannot_be_searched(runner):
    """A missing path and a folder without git exit with 2, also beside a key."""
    _, text = runner.issue()
    (runner.directory / "a").write_text(text)
    done = runner.run("scan", "a", "missing")
    assert (done.code, done.err) == (
        NOT_SEARCHED,
        "not searched: missing: No such file or directory\n",
    )
    assert "1 key in 1 place" in done.out
    done = runner.run("scan", "--git", "a")
    assert done.code == NOT_SEARCHED
    assert "not a git repository" in done.err


def test_control_characters_of_a_path_are_escaped(runner):
    """A file name cannot forge lines or send control sequences."""
    _, text = runner.issue()
    (runner.directory / "a\n\x1b[31mb").write_text(text)
    done = runner.run("scan", ".")
    assert "a" not in done.out.splitlines()
    assert "\\n\\x1b[31mb:1: ak_live_" in done.out


def test_sarif(runner):
    """SARIF 2.1.0 has one result for each place, with the level of a working key."""
    kid, text = runner.issue()
    (runner.directory / "a b.py").write_text(f"\n{text}")
    done = runner.run("scan", "a b.py", "--sarif")
    (run,) = json.loads(done.out)["runs"]
    (result,) = run["results"]
    assert (done.code, result["ruleId"], result["level"]) == (FOUND, "authz-api-key", "error")
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "a%20b.py"}, "region": {"startLine": 2}}
    assert result["partialFingerprints"] == {"authzKey/v1": kid}


def test_sarif_of_a_name_that_is_no_text(runner):
    """The URI has the bytes of a file name that is not UTF-8."""
    _, text = runner.issue()
    (runner.directory / os.fsdecode(b"a\xff?")).write_text(text)
    (result,) = json.loads(runner.run("scan", ".", "--sarif").out)["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "a%FF%3F"}


def test_rules(runner):
    """--rules prints the rules of another scanner for the prefix of the settings."""
    (runner.directory / "authz.yaml").write_text("keys: {prefix: acme}\n")
    done = runner.run("--config", "authz.yaml", "scan", "--rules", "gitleaks")
    assert done.code == 0
    assert '"acme_live_"' in done.out


@pytest.mark.parametrize("words", [(), ("a", "--sarif", "--json")])
def test_misuse(runner, words):
    """A missing path and two formats at once are refused."""
    assert runner.run("scan", *words).code == MISUSED
