"""`authz apply` and `authz diff` with files that hold plans, pools and routes beside keys."""

import pytest
import yaml

from tests.cli.in_process.test_files import apply, shown
from tests.support.cli.in_process import refusal

# Spaces, quotes and comments that a YAML library would write otherwise.
PLANS = """\
# Größe der Pläne
plans:
    gold:   [ 10/s,   "300/min" ]   # the large one

    'silver': ["5/s"]
"""
ROUTES = """\


# routes of the shop
routes:
- {path: '/a',   scopes: "a"}
-   path: /b   # open
routes_default:   deny
prices:   # in micro-dollars
  versions: [ {version: v1, models: {small: {input: 1,  output: 2}}} ]
"""
KEYS = """\
keys:
  - ref: acme-web.shop   # made for the shop
    client: acme-web
    plan: gold
"""
FILE = f"# all of acme\nauthz: 1\nas_of: 0\n{PLANS}\n{KEYS}{ROUTES}"


@pytest.fixture
def with_plans(runner):
    """A runner whose settings include keys.yaml."""
    (runner.directory / "authz.yaml").write_text("include: [keys.yaml]\nplans: {free: [1/s]}\n")
    (runner.directory / "keys.yaml").write_text(FILE)
    runner._patch.setenv("AUTHZ_CONFIG", "authz.yaml")
    return runner


def text_of(runner) -> str:
    """Return keys.yaml, byte for byte."""
    return (runner.directory / "keys.yaml").read_bytes().decode()


def test_other_sections_stay_byte_for_byte(with_plans):
    """apply writes the kid and the number of the change, and leaves plans and routes alone."""
    document = apply(with_plans, "--secrets-to", "secrets", "--json").document
    kid = document["issued"]["acme-web.shop"]
    text = text_of(with_plans)
    assert text.startswith(f"# all of acme\nauthz: 1\nas_of: 1\n{PLANS}\nkeys:\n")
    assert text.endswith(ROUTES)
    assert f"kid: {kid}" in text
    assert "# made for the shop" in text
    assert shown(with_plans, kid)["plan"] == "gold"
    assert apply(with_plans).out.startswith("0 issued, 0 changed, 0 revoked, 1 unchanged")
    assert text_of(with_plans) == text
    checked = with_plans.run("config", "check", "--json").document
    assert (checked["ok"], checked["file"]) == (True, "authz.yaml")
    assert checked["included"] == [f"{with_plans.directory}/keys.yaml"]


@pytest.mark.parametrize(
    "content",
    [
        f"{ROUTES.lstrip()}{KEYS}as_of: 0\n{PLANS}# the end\n",
        f"---\n{PLANS}as_of: 0\n{KEYS}...\n",
        f"{KEYS}{PLANS}as_of: 0",
        f"{PLANS}{KEYS}as_of: 0\n".replace("\n", "\r\n"),
        "{as_of: 0, plans: { gold:   [1/s] }, keys: [{ref: acme-web.shop, client: acme-web}]}\n",
        f'{PLANS}as_of: 0\n{KEYS}    metadata: {{a: "# no comment"}}\n\n\n{ROUTES}',
    ],
)
def test_the_form_of_a_file_does_not_matter(with_plans, content):
    """Sections in any order, other line ends and flow style keep their bytes, too."""
    (with_plans.directory / "keys.yaml").write_bytes(content.encode())
    done = apply(with_plans, "--secrets-to", "secrets")
    assert (done.code, done.err) == (0, "")
    text, lines = text_of(with_plans), {PLANS, PLANS.replace("\n", "\r\n"), ROUTES.lstrip()}
    for section in [part for part in lines if part in content] or ["plans: { gold:   [1/s] }, "]:
        assert section in text
    assert "kid: " in text
    before, after = yaml.safe_load(content), yaml.safe_load(text)
    assert after["as_of"] == 1
    for name in before.keys() - {"keys", "as_of"}:
        assert after[name] == before[name]


def test_a_file_that_cannot_be_cut_is_left_alone(with_plans):
    """The keys are applied, one line says why the file was not updated."""
    odd = f"? plans\n: gold: [1/s]\n? as_of\n: 0\n{KEYS}"
    (with_plans.directory / "keys.yaml").write_text(odd)
    done = apply(with_plans, "--secrets-to", "secrets")
    assert done.out.startswith("1 issued")
    assert "write each section on lines of its own" in done.err
    assert text_of(with_plans) == odd


def test_plans_of_the_file_and_of_the_settings_are_known(with_plans):
    """Each unknown plan is an error of its own, for diff, too."""
    path = with_plans.directory / "keys.yaml"
    keys = "".join(
        f"  - {{ref: {name}, client: a, plan: {name}}}\n"
        for name in ("gold", "free", "lead", "tin")
    )
    path.write_text(f"{PLANS}keys:\n{keys}")
    for command in ("apply", "diff"):
        done = with_plans.run(command, "-f", "keys.yaml")
        assert (done.code, done.out) == (2, "")
        lines = done.err.splitlines()
        assert len(lines) == 2
        assert "keys.yaml: key 3 ('lead'): plan: 'lead' is not a plan" in lines[0]
        assert "'tin' is not a plan of the settings; there are free, gold, silver" in lines[1]


def test_a_plan_that_the_settings_do_not_include_is_warned_of(with_plans):
    """The sidecars would not know it. The keys can be applied nevertheless."""
    (with_plans.directory / "authz.yaml").write_text("plans: {free: [1/s]}\n")
    done = with_plans.run("diff", "-f", "keys.yaml")
    assert done.code == 1
    assert done.err == (
        "warning: the settings do not know gold: sidecars need include: [keys.yaml]\n"
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("10/s", "many", "plans.gold: 'many'"),
        ("path: /b", "path: b", "routes.1.path: 'b' is not a path template"),
        ("path: /b", "path: /a/**\n-   path: /a/b\n    scopes: x", "put the narrower rule first"),
        ("routes_default:   deny", "include: [x.yaml]", "'include' is unknown"),
        ("routes_default:   deny", "redis: {}", "'redis' is unknown"),
        ("plans:\n", "plans: &a\n", ""),
    ],
)
def test_sections_are_checked_as_in_settings(with_plans, before, after, expected):
    """A mistake names the file, and nothing is applied."""
    with_plans._patch.delenv("AUTHZ_CONFIG")
    assert before in FILE
    (with_plans.directory / "keys.yaml").write_text(FILE.replace(before, after))
    if not expected:
        assert apply(with_plans, "--dry-run").code == 0
        return
    said = refusal(apply(with_plans, "--secrets-to", "secrets"))
    assert expected in said
    assert "keys.yaml" in said
    assert with_plans.run("keys", "list", "--json").document["keys"] == []


def test_three_mistakes_are_three_lines(with_plans):
    """All mistakes of a file are told at once, with their lines."""
    bad = FILE.replace("10/s", "many").replace("path: /b", "path: b").replace("deny", "perhaps")
    (with_plans.directory / "keys.yaml").write_text(bad)
    done = apply(with_plans)
    starts = [line.partition(": ")[2].partition(":")[0] for line in done.err.splitlines()]
    assert (done.code, starts) == (2, ["plans.gold", "routes.1.path", "routes_default"])
    assert "(in keys.yaml, line 6)" in done.err
    checked = with_plans.run("config", "check", "--json").document
    assert [each["setting"] for each in checked["mistakes"]] == starts
    assert f"(in {with_plans.directory}/keys.yaml, line 6)" in checked["mistakes"][0]["problem"]


def test_a_file_with_crlf_keeps_it(runner):
    """A file from Windows has one kind of line ends before and after, its plans too."""
    path = runner.directory / "keys.yaml"
    text = "# ours\nplans:\n  gold: [50/s]\nkeys:\n- ref: a  # the shop\n  client: a\n"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    done = runner.run("apply", "-f", "keys.yaml", "--secrets-to", "out", "--json")
    kid = done.document["issued"]["a"]
    expected = text.replace("- ref: a", f"- kid: {kid}\n  ref: a").replace("\n", "\r\n")
    assert path.read_bytes().decode() == expected
    assert runner.run("diff", "-f", "keys.yaml").code == 0
