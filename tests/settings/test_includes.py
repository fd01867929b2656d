"""Included files: plans, pools, prices and routes beside keys, joined with the settings file."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.core.errors import BadInput, BadSettings
from authz.settings import files
from authz.settings.model import Settings, included, load, parse_included
from tests.support.settings import refusal, written

KEYS = """\
authz: 1
as_of: 7
keys:
  - kid: 7Hk2mQ9xT4bVzR1c
    client: acme-web
    plan: gold
plans:
  gold: [10/s]
pools:
  tenants: {acme: [5/s]}
routes:
  - path: /b
routes_default: deny
prices:
  versions: [{version: v1, models: {small: {input: 1, output: 2}}}]
"""
MAIN = """\
include: [git/keys.yaml]
plans:
  free: [1/s]
pools:
  tenants: {"*": [1/s]}
  projects: {p: [2/s]}
routes:
  - path: /a
"""


def given(directory: Path, main: str, **others: str) -> Path:
    """Write a settings file, and others into the folder `git`. Return the settings file."""
    (directory / "git").mkdir(exist_ok=True)
    for name, content in others.items():
        (directory / "git" / f"{name}.yaml").write_text(content)
    return written(directory, main)


def paths(settings: Settings) -> list[str]:
    """Return the paths of the routes in their order."""
    return [rule.path for rule in settings.routes]


def all_mistakes(file: Path, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Return the mistakes of a settings file, by setting."""
    with pytest.raises(BadSettings) as caught:
        load(file, {}, environ or {})
    return {each.field: each.problem for each in caught.value.mistakes}


def within(seconds: int, call: Callable[[], object]) -> None:
    """Call it. Fails if it takes longer."""

    def stop(*_: object) -> None:
        raise AssertionError(f"still waits after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        call()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_one_file_holds_keys_and_their_plans(tmp_path: Path) -> None:
    """Plans, pools, prices and routes of both files are in force. Members of keys do not count."""
    file = given(tmp_path, MAIN, keys=KEYS)
    settings = load(file, {}, {})
    assert set(settings.plans) == {"free", "gold"}
    assert set(settings.pools.tenants) == {"*", "acme"}
    assert set(settings.pools.projects) == {"p"}
    assert paths(settings) == ["/a", "/b"]
    assert settings.routes_default == "deny"
    assert [each.version for each in settings.prices.versions] == ["v1"]
    assert settings.include == (tmp_path / "git" / "keys.yaml",)
    assert included(file, {}, {}) == list(settings.include)


def test_prices_stand_in_one_file(tmp_path: Path) -> None:
    """Prices in two files are a mistake that names both places, and so is a wrong price."""
    prices = "prices: {versions: [{version: a, models: {m: {input: 1, output: %s}}}]}"
    both = given(tmp_path, f"include: [git/p.yaml]\n{prices % 1}", p=prices % 2)
    assert "stands in two files" in all_mistakes(both)["prices"]
    wrong = given(tmp_path, "include: [git/p.yaml]", p=prices % -2)
    (problem,) = all_mistakes(wrong).values()
    assert "p.yaml, line 1" in problem


def test_routes_keep_the_order_of_files_and_of_entries(tmp_path: Path) -> None:
    """The settings file comes first, then each included file as listed."""
    file = given(
        tmp_path,
        "include: [git/z.yaml, git/b.yaml]\nroutes: [{path: /1}, {path: /2}]",
        z="routes: [{path: /3}, {path: /4}]",
        b="routes: [{path: /5}]",
    )
    assert paths(load(file, {}, {})) == ["/1", "/2", "/3", "/4", "/5"]


def test_a_source_above_wins_over_all_files(tmp_path: Path) -> None:
    """A variable replaces routes, and adds or replaces one plan. `include` may be a variable."""
    file = given(tmp_path, MAIN, keys=KEYS)
    settings = load(file, {}, {"AUTHZ_ROUTES": '[{"path": "/e"}]', "AUTHZ_PLANS__GOLD": '["3/s"]'})
    assert paths(settings) == ["/e"]
    assert str(settings.plans["gold"][0]) == "3/s"
    alone = load(None, {}, {"AUTHZ_INCLUDE": f'["{tmp_path}/git/keys.yaml"]'})
    assert (set(alone.plans), paths(alone)) == ({"gold"}, ["/b"])


def test_a_plan_in_two_files_names_both_and_their_lines(tmp_path: Path) -> None:
    """Each setting that stands twice is told, with file and line of both."""
    file = given(tmp_path, MAIN + "routes_default: deny\n", keys=KEYS.replace("gold:", "free:"))
    both = f"stands in two files: in {file}, line {{}}, and in {tmp_path}/git/keys.yaml, line {{}}"
    assert all_mistakes(file) == {
        "plans.free": both.format(3, 8),
        "routes_default": both.format(9, 13),
    }


def test_mistakes_name_the_included_file_and_the_line(tmp_path: Path) -> None:
    """All mistakes of all files are told at once, each with its file and line."""
    keys = KEYS.replace("[10/s]", "[many]").replace("path: /b", "path: b").replace("acme:", "a b:")
    file = given(tmp_path, MAIN.replace("path: /a", "path: a"), keys=keys)
    found = all_mistakes(file, {"AUTHZ_LOG__LEVEL": "LOUD"})
    where = f"in {tmp_path}/git/keys.yaml, line"
    ends = {name: problem.rpartition("(")[2] for name, problem in found.items()}
    assert ends == {
        "plans.gold": f"{where} 8)",
        "'pools.tenants.a b'": f"{where} 10)",
        "log.level": "from AUTHZ_LOG__LEVEL)",
        "routes.0.path": f"in {file}, line 8)",
        "routes.1.path": f"{where} 12)",
    }


def test_a_rule_that_another_file_hides(tmp_path: Path) -> None:
    """The message names the file and the line of each hidden rule."""
    file = given(
        tmp_path,
        "include: [git/a.yaml]\nroutes: [{path: /**}]",
        a="routes:\n  - {path: /x, scopes: s}\n  - {path: /y, scopes: s}\n",
    )
    found = all_mistakes(file)
    assert set(found) == {"routes.1", "routes.2"}
    assert found["routes.2"].endswith(f"(in {tmp_path}/git/a.yaml, line 3)")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("include: [more.yaml]", "include: an included file includes no other"),
        ("redis: {url: 'redis://10.0.0.1'}", "redis: only plans, pools, prices, routes"),
        ("colour: red", "colour: only plans, pools, prices, routes"),
        ("plans: {gold: [1/s", "include.0: {}/git/a.yaml, line "),
        ("plans: {gold: [1/s]}\nplans: {}", "line 2: 'plans' stands here twice"),
        ("keys: []\nplans: {a: &a [1/s], b: *a}", "line 2: aliases are not read here"),
        ("- a", "include.0: {}/git/a.yaml: settings are sections"),
        ("plans: [gold]", "plans: names, each with its value"),
        ("1: a", "line 1: a name is text"),
        ("plans: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_a_file_that_may_not_be_included(tmp_path: Path, content: str, expected: str) -> None:
    """One line says what is wrong, and names the included file."""
    said = refusal(given(tmp_path, "include: [git/a.yaml]", a=content))
    assert expected.format(tmp_path) in said
    assert f"{tmp_path}/git/a.yaml" in said


def test_two_missing_files_are_both_named(tmp_path: Path) -> None:
    """A missing file is no empty file."""
    found = all_mistakes(given(tmp_path, "include: [git/a.yaml, git/b.yaml]\nlog: {level: LOUD}"))
    assert set(found) == {"include.0", "include.1", "log.level"}
    assert found["include.1"] == f"{tmp_path}/git/b.yaml: No such file or directory"


def test_anchors_and_aliases_of_keys_are_not_looked_at(tmp_path: Path) -> None:
    """A file of keys may use aliases in its keys."""
    keys = "keys:\n  - {ref: a, client: a, limits: &l [1/s]}\n  - {ref: b, client: a, limits: *l}\n"
    file = given(tmp_path, "include: [git/a.yaml]", a=keys + "plans: {gold: [1/s]}\n")
    assert set(load(file, {}, {}).plans) == {"gold"}


def test_a_long_list_of_keys_is_skipped_quickly(tmp_path: Path) -> None:
    """Thirty thousand keys take at most 4 s of processor time, and their values are not kept."""
    entry = "  - {kid: 7Hk2mQ9xT4bVzR1c, client: acme, limits: [1/s], metadata: {team: web}}\n"
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n" + entry * 30_000 + "plans: {gold: [1/s]}\n")
    before = time.process_time()
    source = files.read_included("include.0", path)
    assert time.process_time() - before < 4
    assert source.tree == {"keys": None, "plans": {"gold": ["1/s"]}}


def test_an_endless_file_is_not_read(tmp_path: Path) -> None:
    """A file is refused by its size, before all of it is read."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match=f"at most {16 << 20} bytes"):
        files.read_included("include.0", tmp_path / "sparse")


def test_sections_are_counted_by_their_sources(tmp_path: Path) -> None:
    """`given` tells in how many sources a section stands."""
    settings = load(given(tmp_path, MAIN, keys=KEYS), {}, {"AUTHZ_LOG__LEVEL": "INFO"})
    assert settings.given["plans"] == settings.given["routes"] == 2
    assert settings.given["routes_default"] == settings.given["log"] == 1
    assert settings.given["redis"] == 0


@pytest.mark.parametrize("content", ["[" * 20_000, "\n  " + "- " * 20_000, "{a: " * 20_000])
def test_deep_keys_are_refused_at_once(tmp_path: Path, content: str) -> None:
    """The parser's time would grow with the square of the depth: minutes for a small file."""
    file = given(tmp_path, MAIN, keys=f"keys: {content}")
    began = time.process_time()
    found = all_mistakes(file)["include.0"]
    assert time.process_time() - began < 1
    assert found.endswith("lists and sections are nested more than 100 deep")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Only a regular file is included: a reload reads it again."""
    file = given(tmp_path, MAIN)
    os.mkfifo(tmp_path / "git" / "keys.yaml")
    with pytest.raises(BadInput, match="not a regular file"):
        within(5, lambda: load(file, {}, {}))
    for name, problem in (("/dev/zero", "not a regular file"), (".", "Is a directory")):
        assert problem in all_mistakes(written(tmp_path, f"include: [{name}]"))["include.0"]


def test_a_number_is_the_name_of_a_file_that_is_read(tmp_path: Path) -> None:
    """A setting takes a number where it takes text, and no included file is left out silently."""
    file = written(tmp_path, "include: [1]")
    assert "No such file" in all_mistakes(file)["include.0"]
    (tmp_path / "1").write_text(KEYS)
    assert set(load(file, {}, {}).plans) == {"gold"}


def test_the_issuer_of_assertions_may_stand_in_the_including_file(tmp_path: Path) -> None:
    """An included route may ask for an assertion; alone, its file is not asked for the issuer."""
    content = "routes: [{path: /orders, assertion: orders}]\n"
    (tmp_path / "routes.yaml").write_text(content)
    file = tmp_path / "authz.yaml"
    file.write_text("include: [routes.yaml]\nidentity: {assertion_issuer: gate}\n")

    assert load(file, {}, {}).routes[0].assertion == "orders"
    assert parse_included("-f", content.encode(), file).routes[0].assertion == "orders"
    file.write_text("include: [routes.yaml]\n")
    with pytest.raises(BadInput, match=r"set identity\.assertion_issuer"):
        load(file, {}, {})
