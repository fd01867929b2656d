"""Publishable keys in commands."""

import pytest

from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from tests.support.cli.in_process import refusal

ORIGIN = ("--origin", "https://app.example.com")
FILE = "keys:\n  - {ref: web, client: acme, public: true, origins: [https://app.example.com]}\n"


def issue(runner, *options):
    """Issue a publishable key, and return its kid and its text."""
    return runner.issue("--public", *ORIGIN, *options)


def test_issue(runner):
    """The text says that it is publishable, and so do show, list and the summary."""
    kid, text = issue(runner, "--env", "test")

    assert text.startswith(f"pk_test_{kid}_")
    document = runner.run("keys", "show", kid, "--json").document
    assert document["public"]
    assert [one["limit"] for one in document["limits"]] == [10, 10_000]
    assert "yes: it may stand in a web page" in runner.run("keys", "show", kid).out
    listed = runner.run("keys", "list", "--columns", "kid,public").out
    assert f"{kid}  yes" in listed
    secret, _ = runner.issue()
    assert not runner.run("keys", "show", secret, "--json").document["public"]


def test_an_origin_is_needed(runner):
    """Without an origin no key is issued."""
    done = runner.run("keys", "issue", "--client", "acme", "--public")

    assert "--origin: a publishable key needs an allowed origin" in refusal(done)


@pytest.mark.parametrize("cleared", ["origin", "limit"])
def test_an_update_keeps_the_conditions(runner, cleared):
    """The origins and the limits cannot be removed, and the key still can be disabled."""
    kid, _ = issue(runner)

    assert "a publishable key needs" in refusal(
        runner.run("keys", "update", kid, "--clear", cleared)
    )
    assert runner.run("keys", "update", kid, "--limit", "1/s").code == 0
    assert runner.run("keys", "disable", kid).code == 0


def test_a_rotation_gives_another_publishable_text(runner):
    """One key, and many at once."""
    kid, text = issue(runner)

    rotated = runner.run("keys", "rotate", kid, "--json").document["key"]
    assert rotated != text
    assert rotated.startswith(f"pk_live_{kid}_")
    done = runner.run(
        "keys", "rotate", "--client", "acme-web", "--grace", "0", "--secrets-to", "new", "--yes"
    )
    assert done.code == 0, done
    (file,) = (one for one in (runner.directory / "new").iterdir() if kid in one.name)
    assert file.read_text().startswith(f"pk_live_{kid}_")


def test_verify(runner):
    """The decision depends on the mark of the route and on the origin."""
    _, text = issue(runner)

    unmarked = runner.run("keys", "verify", *ORIGIN, stdin=text)
    assert unmarked.code == 1
    assert "key publishable; route not marked public" in unmarked.out
    assert "403 public_key_not_allowed" in unmarked.out
    assert runner.run("keys", "verify", "--public", *ORIGIN, stdin=text).code == 0
    other = ("--origin", "https://evil.example.com")
    for origin in ((), other):
        done = runner.run("keys", "verify", "--public", *origin, "--json", stdin=text)
        assert done.document["reason"] == "origin_not_allowed"


def test_routes_of_the_settings(runner):
    """A rule marks its paths, and an earlier rule without the mark does not."""
    _, text = issue(runner)
    (runner.directory / "authz.yaml").write_text(
        "routes: [{path: /open/secret}, {path: /open/**, public: true}]\n"
    )

    def code(path):
        command = ("--config", "authz.yaml", "keys", "verify", "--path", path)
        return runner.run(*command, *ORIGIN, stdin=text).code

    assert [code(path) for path in ("/open/x", "/open/secret", "/")] == [0, 1, 1]


def test_a_file_of_keys(runner):
    """An export is applied without a change, and the kind of a key cannot be changed."""
    (runner.directory / "keys.yaml").write_text(FILE)
    assert "live, publishable" in runner.run("diff", "-f", "keys.yaml").out
    done = runner.run("apply", "-f", "keys.yaml", "--secrets-to", "new", "--yes")
    assert done.code == 0, done
    assert runner.run("diff", "-f", "keys.yaml").code == 0

    exported = runner.run("keys", "export").out
    assert "public: true" in exported
    (runner.directory / "all.yaml").write_text(exported)
    assert runner.run("diff", "-f", "all.yaml").code == 0
    (runner.directory / "all.yaml").write_text(exported.replace("public: true", "public: false"))
    done = runner.run("diff", "-f", "all.yaml")
    assert done.code != 0
    assert "the key is publishable, and that never changes" in done.out + done.err


def test_a_scan_finds_it_and_it_is_no_leak(runner):
    """The exit code is 0, and --revoke leaves it alone; a secret key beside it is a leak."""
    kid, text = issue(runner)
    (runner.directory / "page.html").write_text(f"<body data-key='{text}'>")

    about = "publishable, so no leak, client acme-web, active: it works"
    done = runner.run("scan", "page.html", "--revoke")
    assert (done.code, runner.status(kid)) == (0, "active")
    assert done.out.splitlines() == [
        f"page.html:1: pk_live_{kid}_... ({about})",
        "no secret key was found; 1 place with a publishable key; searched 1 file",
    ]
    document = runner.run("scan", "page.html", "--json").document
    assert [one["kind"] for one in document["found"]] == ["publishable"]
    assert runner.run("scan", "page.html", "--sarif").document["runs"][0]["results"] == []
    secret, leaked = runner.issue()
    (runner.directory / "b.py").write_text(leaked)
    assert runner.run("scan", ".", "--revoke").code == 1
    assert (runner.status(kid), runner.status(secret)) == ("active", "revoked")


def test_an_import_refuses_a_text_of_ours_and_takes_those_of_others(runner):
    """Keys of other systems may begin with pk_live_."""
    ours = Keyring("ak", [Pepper.expand("1", b"p" * 32)]).mint("live", public=True).text
    other = "pk_live_51H8aBcDeFgHiJkLmNoPqRsTuVwXyZ"

    for text, code in ((ours, 1), (other, 0)):
        line = f'{{"key": "{text}", "client": "acme"}}\n'
        assert runner.run("keys", "import", stdin=line).code == code


@pytest.mark.parametrize("public", ["true", '"true"'])
def test_a_publishable_key_of_another_system(runner, public):
    """An imported key is publishable if its entry says so, by the same rules."""
    line = f'{{"key": "pk_live_51H8aBcDeFgHiJkLmNo", "client": "acme", "public": {public}%s}}\n'
    origins = ', "origin": "https://app.example.com"'

    assert runner.run("keys", "import", stdin=line % "").code == 1
    assert runner.run("keys", "import", stdin=line % origins).code == 0
    (document,) = runner.run("keys", "list", "--json").document["keys"]
    assert document["public"]
    assert [one["limit"] for one in document["limits"]] == [10, 10_000]
    text = "pk_live_51H8aBcDeFgHiJkLmNo"
    assert runner.run("keys", "verify", *ORIGIN, stdin=text).code == 1
    assert runner.run("keys", "verify", "--public", *ORIGIN, stdin=text).code == 0


@pytest.mark.parametrize("public", ["1", '"yes"', "[]", "{}", "0.0"])
def test_an_import_refuses_another_word(runner, public):
    """Only true and false say whether a key is publishable."""
    line = f'{{"key": "sk-0123456789abcdef0", "client": "acme", "public": {public}}}\n'

    done = runner.run("keys", "import", stdin=line)
    assert done.code == 1
    assert "public: has to be true or false" in done.out + done.err


def test_a_file_names_the_problem_of_a_publishable_key(runner):
    """A declared key without an origin is refused by its name, and a word is no truth value."""
    for public, problem in (("true", "origin: a publishable"), ("'yes'", "public: true or false")):
        text = f"keys: [{{ref: web, client: acme, public: {public}}}]\n"
        (runner.directory / "keys.yaml").write_text(text)
        done = runner.run("diff", "-f", "keys.yaml")
        assert f"key 1 ('web'): {problem}" in done.err
        assert done.code == 2
