"""A command that cannot use the store tells the real cause, and all of several causes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli.terminal import run
from tests.support.real import Valkey

LIST = ("keys", "list")
WANTS = "the store cannot be used: it wants a password (NOAUTH), and"


@pytest.fixture
def closed(store: Path, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    """A store that wants a password, and has users with few rights. Each has the password `pw`."""
    monkeypatch.setenv("AUTHZ_REDIS__URL", own_valkey.url)
    (store / "password").write_text("pw")
    for user, rights in (
        ("nothing", "~* -@all"),
        ("reader", "~* &* +@all -client|setname"),
        ("elsewhere", "~other* &* +@all"),
    ):
        own_valkey.admin.execute_command("ACL", "SETUSER", user, "on", ">pw", *rights.split())
    own_valkey.admin.config_set("requirepass", "pw")
    yield own_valkey
    own_valkey.admin.config_set("requirepass", "")


def lines(*command: str) -> list[str]:
    """Return the lines of a failed command, without `authz: `."""
    outcome = run(*command)
    assert outcome.out == ""
    assert outcome.code in (2, 3)
    found = outcome.err.splitlines()
    assert all(line.startswith("authz: ") for line in found)
    return [line.removeprefix("authz: ") for line in found]


def doctor() -> list[str]:
    """Return the failures that the doctor finds."""
    outcome = run("doctor")
    assert outcome.code == 1
    return [line for line in outcome.out.splitlines() if line.startswith("fail")]


def test_no_password_is_set(closed: Valkey) -> None:
    """The setting that is missing is named, and not the address."""
    assert lines(*LIST) == [f"{WANTS} redis.password_file is not set"]
    (found,) = doctor()
    assert found.endswith(f"{WANTS} redis.password_file is not set")


def test_the_password_file_is_empty(
    closed: Valkey, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The empty file is named."""
    (store / "password").write_text(" \n")
    monkeypatch.setenv("AUTHZ_REDIS__PASSWORD_FILE", "password")
    assert lines(*LIST) == [f"{WANTS} {store}/password is empty"]


@pytest.mark.parametrize("user", ["reader", "nobody"])
def test_a_user_without_a_password(
    closed: Valkey, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    """The missing password is named: without it, nobody can tell whether the user exists."""
    monkeypatch.setenv("AUTHZ_REDIS__USERNAME", user)
    (found,) = lines(*LIST)
    assert found.endswith("without a password (WRONGPASS), and redis.password_file is not set")


@pytest.mark.parametrize("user", ["nothing", "reader", "elsewhere"])
@pytest.mark.parametrize("command", [LIST, ("keys", "issue", "--client", "a"), ("sidecars",)])
def test_a_user_without_rights(
    closed: Valkey, monkeypatch: pytest.MonkeyPatch, user: str, command: tuple[str, ...]
) -> None:
    """The missing right is told, with where the rights are; the address is not suspected."""
    monkeypatch.setenv("AUTHZ_REDIS__USERNAME", user)
    monkeypatch.setenv("AUTHZ_REDIS__PASSWORD_FILE", "password")
    (found,) = lines(*command)
    assert "o permissions to " in found
    assert found.endswith("(NOPERM); give the user the rights in deploy/redis/users.acl")


def test_pepper_and_password_file_are_both_missing(
    closed: Valkey, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a line, in every command and for the sidecar."""
    (store / "authz-pepper-1").unlink()
    monkeypatch.setenv("AUTHZ_REDIS__PASSWORD_FILE", "nowhere")
    pepper = (
        f"keys.peppers: {store}/authz-pepper-1: No such file or directory; `authz init` makes it"
    )
    password = f"redis.password_file: {store}/nowhere: No such file or directory"
    assert lines(*LIST) == [pepper, password]
    assert sorted(lines("serve")) == [pepper, password]
    found = doctor()
    assert any(password in line for line in found)
    assert any(f"{store}/authz-pepper-1" in line for line in found)


def test_the_pepper_is_missing_and_the_login_is_refused(closed: Valkey, store: Path) -> None:
    """The first hides the second: both are told."""
    (store / "authz-pepper-1").unlink()
    first, second = lines(*LIST)
    assert first.startswith("keys.peppers: ")
    assert second == f"{WANTS} redis.password_file is not set"
    assert any(second in line for line in doctor())


def test_two_peppers_are_missing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each missing pepper has a line, also in `config check`."""
    monkeypatch.setenv(
        "AUTHZ_KEYS__PEPPERS", '[{"version": "2", "file": "b"}, {"version": "3", "file": "c"}]'
    )
    assert [line.partition(": No")[0] for line in lines(*LIST)] == [
        f"keys.peppers: {store}/b",
        f"keys.peppers: {store}/c",
    ]
    assert len(run("config", "check", "--json").document["mistakes"]) == 2


def test_a_missing_pepper_alone_is_one_line(store: Path) -> None:
    """With a store that answers, nothing else is told."""
    (store / "authz-pepper-1").unlink()
    assert len(lines(*LIST)) == 1


def test_three_mistakes_are_three_lines(no_store: Path) -> None:
    """Every command tells all mistakes of the settings, each with its line."""
    (no_store / "authz.yaml").write_text(
        "check:\n  listne: 1\n  deadline: fast\nlog:\n  level: LOUD\nplans:\n  a: [x]\n"
    )
    for command in (LIST, ("serve",), ("init",)):
        found = lines(*command, "--config", "authz.yaml")
        assert [line.partition(":")[0] for line in found] == [
            "check.deadline",
            "check.listne",
            "plans.a",
            "log.level",
        ]
        assert [line.rpartition("line ")[2] for line in found] == ["3)", "2)", "7)", "5)"]


def test_very_many_mistakes_are_bounded(no_store: Path) -> None:
    """Twenty mistakes are told, and the number of the others."""
    (no_store / "authz.yaml").write_text("".join(f"x{number}: 1\n" for number in range(50)))
    found = lines(*LIST, "--config", "authz.yaml")
    assert len(found) == 21
    assert found[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("check: [\n", "authz.yaml, line 2: "),
        ("check:\n  listen: a\n deadline: b\n", "authz.yaml, line 3: "),
        ("check:\n\tlisten: a\n", "authz.yaml, line 2: "),
        ("plans: {a: [1/s}\n", "authz.yaml, line 1: "),
        ('log: {level: "INFO}\n', "authz.yaml, line 2: "),
    ],
)
def test_a_mistake_of_yaml_has_its_line(no_store: Path, content: str, expected: str) -> None:
    """The file and the line are named."""
    (no_store / "authz.yaml").write_text(content)
    (found,) = lines(*LIST, "--config", "authz.yaml")
    assert found.startswith(f"--config: {expected}")


def test_the_variable_that_names_a_missing_file(
    no_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody gave --config, so the message names the variable."""
    monkeypatch.setenv("AUTHZ_CONFIG", "gone.yaml")
    assert lines(*LIST) == ["$AUTHZ_CONFIG: gone.yaml: No such file or directory"]
