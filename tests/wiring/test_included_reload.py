"""Reloads of settings with included files: watched, and taken together or not at all."""

from pathlib import Path

import pytest

from authz.settings.model import included, load
from authz.wiring.file_changes import FileChanges
from authz.wiring.live_settings import LiveSettings, settings_hash
from authz.wiring.serving import reread
from tests.support.fakes import FakeClock
from tests.support.settings import written
from tests.wiring.test_live_settings import NOW, Target

MAIN = "include: [keys.yaml]\nplans: {free: [1/s]}\nroutes: [{path: /a, scopes: a}]\n"
KEYS = "keys: []\nplans: {gold: [10/s]}\nroutes: [{path: /b, scopes: b}]\n"


class Reloading:
    """LiveSettings of a settings file and an included file, as `serve` connects them."""

    def __init__(self, directory: Path) -> None:
        self.file = written(directory, MAIN)
        self.keys = directory / "keys.yaml"
        self.keys.write_text(KEYS)
        self.target = Target()
        self.changes = FileChanges(self.files)
        self.live = LiveSettings(
            self.read(), lambda: reread(self.read, self.changes), self.target, FakeClock(NOW)
        )

    def files(self) -> list[Path]:
        """Return the files of the settings."""
        return [self.file, *included(self.file, {}, {})]

    def read(self):
        """Read the settings."""
        return load(self.file, {}, {})

    async def reload(self) -> str:
        """Reload as after a change. Return the reason of a refusal."""
        self.changes.follow()
        await self.live.reload()
        return self.live.report()["reason"]

    def is_noticed(self) -> bool:
        """Return whether two looks find a change."""
        return [self.changes.take(), self.changes.take()] == [False, True]


@pytest.fixture
def reloading(tmp_path: Path) -> Reloading:
    """A settings file that includes a file of keys."""
    return Reloading(tmp_path)


async def test_a_change_of_an_included_file_is_noticed_and_taken(reloading: Reloading) -> None:
    """The included plan is in force after the reload. Keys alone do not change the version."""
    before = reloading.live.version.hash
    reloading.keys.write_text(KEYS.replace("keys: []", "keys: [{ref: a, client: a}]"))
    assert reloading.is_noticed()
    assert await reloading.reload() == ""
    assert reloading.live.version.hash == before

    reloading.keys.write_text(KEYS.replace("10/s", "20/s"))
    assert reloading.is_noticed()
    assert await reloading.reload() == ""
    assert str(reloading.target.used[-1].plans["gold"][0]) == "20/s"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "plans: it stood in more of the settings files before, and so did routes"),
        ("keys: []\nplans: {gold: [10/s]}\n", "routes: it stood"),
        (KEYS.replace("10/s", "many"), "plans.gold: "),
        ("plans: {", "include.0: "),
        (None, "include.0: "),
    ],
)
async def test_a_cut_or_wrong_included_file_changes_nothing(
    reloading: Reloading, content: str | None, reason: str
) -> None:
    """The settings file may have changed at the same time: nothing of it is taken."""
    reloading.file.write_text(MAIN.replace("1/s", "2/s"))
    if content is None:
        reloading.keys.unlink()
    else:
        reloading.keys.write_text(content)
    assert (await reloading.reload()).startswith(f"not reloaded: {reason}")
    assert reloading.target.used == []

    reloading.keys.write_text(KEYS.replace("10/s", "30/s"))
    assert reloading.is_noticed()
    assert await reloading.reload() == ""
    assert str(reloading.target.used[-1].plans["free"][0]) == "2/s"
    assert str(reloading.target.used[-1].plans["gold"][0]) == "30/s"


async def test_a_file_that_is_included_later_is_watched(reloading: Reloading) -> None:
    """A new included file may come after its name. Its plans are then noticed and taken."""
    more = reloading.file.with_name("more.yaml")
    reloading.file.write_text(MAIN.replace("[keys.yaml]", "[keys.yaml, more.yaml]"))
    assert reloading.is_noticed()
    assert "more.yaml: No such file" in await reloading.reload()

    more.write_text("plans: {big: [99/s]}")
    assert reloading.is_noticed()
    assert await reloading.reload() == ""
    assert set(reloading.target.used[-1].plans) == {"free", "gold", "big"}


async def test_a_section_may_move_to_another_file(reloading: Reloading) -> None:
    """A section that stands in as many files as before was not cut."""
    reloading.keys.write_text("keys: []\nroutes: [{path: /b, scopes: b}]\n")
    reloading.file.write_text(MAIN.replace("[keys.yaml]", "[keys.yaml, plans.yaml]"))
    reloading.file.with_name("plans.yaml").write_text("plans: {gold: [10/s]}")
    assert await reloading.reload() == ""
    assert set(reloading.target.used[-1].plans) == {"free", "gold"}


async def test_files_that_change_while_they_are_read_are_read_again(reloading: Reloading) -> None:
    """Half of an earlier and half of a later state is never in force."""
    read = reloading.read

    def changing():
        found = read()
        reloading.keys.write_text(KEYS.replace("10/s", "40/s"))
        return found

    reloading.read = changing
    assert "changed while it was read" in await reloading.reload()
    assert reloading.target.used == []
    reloading.read = read
    assert reloading.is_noticed()
    assert await reloading.reload() == ""


def test_the_number_of_files_does_not_change_the_version(reloading: Reloading) -> None:
    """One file with the same values has the same hash."""
    one = reloading.file.with_name("one.yaml")
    one.write_text(
        "plans: {free: [1/s], gold: [10/s]}\n"
        "routes: [{path: /a, scopes: a}, {path: /b, scopes: b}]\n"
    )
    assert settings_hash(load(one, {}, {})) == settings_hash(reloading.read())


async def test_an_impossible_name_of_a_file_is_refused_and_watched(reloading: Reloading) -> None:
    """The reload reports it and goes on: the next change of the settings file is taken."""
    reloading.file.write_text(MAIN.replace("keys.yaml", '"a\\0b"'))
    assert reloading.is_noticed()
    assert "not a file name" in await reloading.reload()
    reloading.file.write_text(MAIN)
    assert await reloading.reload() == ""


async def test_a_wrong_name_is_corrected(reloading: Reloading) -> None:
    """The settings file is watched while a file that it names is missing."""
    reloading.file.write_text(MAIN.replace("keys.yaml", "typo.yaml"))
    assert reloading.is_noticed()
    assert "No such file" in await reloading.reload()
    reloading.file.write_text(MAIN.replace("1/s", "2/s"))
    assert reloading.is_noticed()
    assert await reloading.reload() == ""
    assert str(reloading.target.used[-1].plans["free"][0]) == "2/s"


async def test_an_included_file_gets_another_name(reloading: Reloading) -> None:
    """The old file is gone when the settings file names the new one, as after one commit."""
    reloading.keys.rename(reloading.keys.with_name("renamed.yaml"))
    assert not reloading.is_noticed()
    reloading.file.write_text(MAIN.replace("keys.yaml", "renamed.yaml"))
    assert reloading.is_noticed()
    assert await reloading.reload() == ""
