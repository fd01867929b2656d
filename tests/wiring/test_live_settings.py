"""LiveSettings and FileChanges: versions, atomic reloads, and changes of the settings file."""

import os

import pytest

from authz.core.errors import BadInput
from authz.settings.model import Settings, load
from authz.wiring.file_changes import FileChanges
from authz.wiring.live_settings import RELOADABLE, LiveSettings, restart_needed, settings_hash
from authz.wiring.serving import reread
from tests.support.fakes import FakeClock
from tests.support.settings import tree_of, written

NOW = 1_763_800_000_000


class Target:
    """A ReloadTarget that records its settings. `fault` is raised by `prepare`."""

    partitions = 1

    def __init__(self, fault=None):
        self.fault, self.used, self.migrated = fault, [], 0

    def prepare(self, settings):
        """Implement ReloadTarget.prepare."""
        if self.fault:
            raise self.fault
        return lambda: self.used.append(settings)

    async def migrate(self):
        """Implement ReloadTarget.migrate."""
        self.migrated += 1


def given(**sections) -> Settings:
    """Return settings with these sections."""
    return load(flags=sections, environ={})


def test_equal_settings_have_the_same_version_from_any_source(tmp_path):
    """A file, the environment and flags with the same values give one hash."""
    file = written(tmp_path, "log: {level: DEBUG}\n")
    by_file = load(file, {"keys": {"peppers": [{"file": "/p"}]}}, {})
    by_variable = load(None, {"keys": {"peppers": [{"file": "/p"}]}}, {"AUTHZ_LOG__LEVEL": "debug"})
    assert settings_hash(by_file) == settings_hash(by_variable)
    assert settings_hash(by_file) != settings_hash(given(keys={"peppers": [{"file": "/p"}]}))


def test_every_section_either_reloads_or_needs_a_restart():
    """A changed setting outside RELOADABLE is named; one inside is not."""
    assert set(RELOADABLE) <= set(Settings.names)
    old = given()
    for name, value in (
        ("check.deadline", "60ms"),
        ("redis.url", "redis://10.0.0.1:6379/0"),
        ("ops.health_listen", "127.0.0.1:9195"),
        ("outage.grace", "1s"),
    ):
        assert restart_needed(old, given(**tree_of(name, value))) == [name]
    for name, value in (
        ("log.level", "DEBUG"),
        ("plans.gold", ["10/s"]),
        ("pools.tenants", {"*": ["10/s"]}),
        ("limits.on_outage", "deny"),
        ("routes", [{"path": "/a"}]),
        ("routes_default", "deny"),
        ("check.enforce", False),
    ):
        assert restart_needed(old, given(**tree_of(name, value))) == []


async def test_a_reload_exchanges_what_it_may_and_keeps_the_rest():
    """The new plans are in force, the old deadline too, and the report names the deadline."""
    clock, target = FakeClock(NOW), Target()
    new = given(plans={"gold": ["10/s"]}, check={"deadline": "70ms"})
    live = LiveSettings(given(), lambda: new, target, clock)
    before = live.version
    clock.advance(5)

    await live.reload()

    (used,) = target.used
    assert (used.plans, used.check.deadline) == (new.plans, 0.05)
    assert live.version == (settings_hash(used), NOW + 5000)
    assert live.version.hash != before.hash
    assert live.report()["restart_needed"] == ["check.deadline"]
    assert live.report()["loaded_at"] == "2025-11-22T08:26:45.000Z"
    assert target.migrated == 1


@pytest.mark.parametrize("where", ["read", "prepare"])
async def test_a_mistake_keeps_the_old_settings(where, caplog):
    """One line and /readyz name the mistake. A later reload clears it."""
    mistake = BadInput("routes.0", "no such thing")
    found = [mistake if where == "read" else given(log={"level": "DEBUG"}), given()]

    def read():
        value = found.pop(0)
        if isinstance(value, BadInput):
            raise value
        return value

    target = Target(mistake if where == "prepare" else None)
    live = LiveSettings(given(), read, target, FakeClock(NOW))
    before = live.version

    await live.reload()

    assert (live.version, target.used, target.migrated) == (before, [], 0)
    assert live.report()["reason"] == "not reloaded: routes.0: no such thing"
    assert [line for line in caplog.messages if "routes.0: no such thing" in line]

    target.fault = None
    await live.reload()
    assert live.report()["reason"] == ""


FULL = """keys: {peppers: [{file: /p}]}
plans: {gold: ["10/s"]}
routes:
  - {path: /admin/**, scopes: admin}
routes_default: deny
log: {level: INFO}
"""


@pytest.mark.parametrize("cut", [*range(5), "blanks", "mark", "comment", "null"])
async def test_a_file_that_was_cut_keeps_the_old_settings(tmp_path, cut):
    """A file without its last sections, or without any setting, is refused in one line."""
    lines = FULL.splitlines(keepends=True)
    odd = {"blanks": " \n\n", "mark": "\ufeff", "comment": "# a\n", "null": "".join(lines[:3])}
    file = written(tmp_path, FULL)
    target = Target()
    live = LiveSettings(
        load(file, {}, {}),
        lambda: reread(lambda: load(file, {}, {}), FileChanges(lambda: [file])),
        target,
        FakeClock(NOW),
    )

    file.write_text(odd[cut] if cut in odd else "".join(lines[:cut]), encoding="utf-8")
    await live.reload()

    assert target.used == []
    reason = live.report()["reason"]
    is_empty = cut in (0, "blanks", "mark", "comment")
    assert ("it is empty" if is_empty else "write it empty, or restart") in reason

    file.write_text(FULL.replace("10/s", "20/s"))
    await live.reload()
    assert live.report()["reason"] == ""
    assert target.used[0].plans != load(None, {}, {}).plans


async def test_an_empty_file_is_refused_although_the_environment_has_its_sections(tmp_path):
    """The sections that variables give do not make an emptied file usable."""
    file = written(tmp_path, "")
    with pytest.raises(BadInput, match="it is empty"):
        reread(lambda: load(file, {}, {"AUTHZ_LOG__LEVEL": "INFO"}), FileChanges(lambda: [file]))


async def test_a_request_waits_until_the_file_stands_still(tmp_path):
    """SIGHUP while the file is written reads the file after its last change."""
    file = tmp_path / "authz.yaml"
    file.write_text("a")
    changes, contents = FileChanges(lambda: [file]), ["half", "half and the rest"]
    waits = []

    async def wait(seconds):
        waits.append(seconds)
        if contents:
            file.write_text(contents.pop(0))

    await changes.settle(wait)
    assert len(waits) == 3
    assert [changes.take(), changes.take()] == [False, False]


def test_a_changed_file_is_reported_once_when_it_stands_still(tmp_path):
    """A file that is being written is not read before two looks agree."""
    file = tmp_path / "authz.yaml"
    file.write_text("a")
    changes = FileChanges(lambda: [file])
    assert not changes.take()

    file.write_text("half")
    assert not changes.take()
    file.write_text("half and the rest")
    assert not changes.take()
    assert changes.take()
    assert not changes.take()


def test_a_file_behind_a_link_is_followed(tmp_path):
    """A ConfigMap changes by a link to another directory. A missing file is no change."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "authz.yaml").write_text("same")
    os.symlink("one", tmp_path / "data")
    changes = FileChanges(lambda: [tmp_path / "data" / "authz.yaml"])

    (tmp_path / "data").unlink()
    assert [changes.take(), changes.take()] == [False, False]
    os.symlink("two", tmp_path / "data")
    assert [changes.take(), changes.take(), changes.take()] == [False, True, False]


def test_without_a_file_nothing_changes():
    """Settings from the environment alone reload only by SIGHUP."""
    assert not FileChanges(list).take()
