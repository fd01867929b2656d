"""The commands of docs/getting-started.md, typed into a shell, print what the page shows."""

import sys
from pathlib import Path

import pytest

from tests.support.docs import ROOT
from tests.support.docs.console import Step, agree, run, steps
from tests.support.docs.tour import begun, exports, new_shell
from tests.support.stalls import conclusive

PAGE = "docs/getting-started.md"
STEPS = steps((ROOT / PAGE).read_text())
SECONDS = 100.0

START = ".venv/bin/authz dev"  # on the usual ports in the page, on free ones here
INSTEAD = {"make demo": ".venv/bin/authz dev --check --ephemeral"}  # its recipe, after installing


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a `.venv`, in which the commands are typed."""
    made = tmp_path_factory.mktemp("tour")
    (made / ".venv").symlink_to(sys.prefix)
    return made


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The variables of a user's new shell."""
    return new_shell()


@pytest.fixture(scope="module")
def printed(directory: Path, environment: dict[str, str]) -> dict[int, str]:
    """The output of each step by its number, all of them typed into one shell in their order.

    Envoy and the sidecar keep their shipped timeouts. If the machine stood still, the tour is
    repeated.
    """

    def tour() -> dict[int, str]:
        with begun(directory, environment) as welcome:
            return _taken(welcome, directory, environment)

    def is_right(found: dict[int, str]) -> bool:
        kids: dict[str, str] = {}
        return all(agree(STEPS[number].shown, found.get(number, ""), kids) for number in RUN)

    return conclusive(tour, is_right)


def _taken(welcome: str, directory: Path, environment: dict[str, str]) -> dict[int, str]:
    paste = exports(welcome)
    commands = [
        paste if STEPS[number].command == START else _typed(STEPS[number].command) for number in RUN
    ]
    outputs = run(commands, directory, environment, SECONDS)
    found = dict(zip(RUN, outputs, strict=False))
    return found | {STEPS.index(Step(START, shown)): welcome for shown in _shown_of(START)}


def _typed(command: str) -> str:
    return INSTEAD.get(command, command)


def _shown_of(command: str) -> list[str]:
    return [step.shown for step in STEPS if step.command == command]


@pytest.fixture(scope="module")
def kids() -> dict[str, str]:
    """The kid that each kid of the page stands for."""
    return {}


RUN = list(range(len(STEPS)))


@pytest.mark.timeout(600)  # of several rounds
@pytest.mark.parametrize("number", RUN, ids=lambda number: f"{number} {STEPS[number].command[:50]}")
def test_the_page_shows_what_a_command_prints(
    number: int, printed: dict[int, str], kids: dict[str, str]
) -> None:
    """A command pasted into a shell, after `authz dev`, prints what the page shows."""
    step = STEPS[number]
    assert number in printed, f"{step.command}: it was not reached, or did not end"
    told = f"$ {step.command}\n--- {PAGE}\n{step.shown}\n--- printed\n{printed[number]}"
    assert agree(step.shown, printed[number], kids), told


def test_the_tour_is_one() -> None:
    """The page has commands, begins with one `authz dev`, and has those that are replaced here."""
    typed = [step.command for step in STEPS]
    assert typed.count(START) == 1
    assert set(INSTEAD) <= set(typed)
    assert len(RUN) > 15


@pytest.mark.parametrize(
    ("shown", "came", "same"),
    [
        ("revoked", "revoked", True),
        ("revoked", "active", False),
        ("in 4 ms", "in 0.12 ms", True),
        ("(0 allowed between)", "(2 allowed between)", True),
        ("0 allowed", "2 allowed", False),
        ("in 4 ms", "in time", False),
        ("3 of 3", "1 of 1", False),
        ("at 127.0.0.1:80.", "at 127.0.0.1:4711.", True),
        ("since 2026-11-22T00:33:28Z", "since 2031-01-01T00:00:00.123Z", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…\nd", "a\nb\nc", False),
        ("7Hk2mQ9xT4bVzR1c is 7Hk2mQ9xT4bVzR1c", "0000000000000000 is 0000000000000000", True),
        ("7Hk2mQ9xT4bVzR1c is 7Hk2mQ9xT4bVzR1c", "0000000000000000 is 0000000000000001", False),
        ("a.c", "abc", False),
        ("", "anything", False),
    ],
)
def test_the_comparison_sees_differences(shown: str, came: str, same: bool) -> None:
    """Times, ports and kids may differ from run to run. Nothing else may."""
    assert agree(shown, came, {}) is same


def test_a_kid_stays_the_same_in_later_steps() -> None:
    """A kid of the page stands for one kid in all steps."""
    kids = {}
    assert agree("issued 7Hk2mQ9xT4bVzR1c", "issued 0000000000000000", kids)
    assert agree("revoked 7Hk2mQ9xT4bVzR1c", "revoked 0000000000000000", kids)
    assert not agree("revoked 7Hk2mQ9xT4bVzR1c", "revoked 0000000000000001", kids)
