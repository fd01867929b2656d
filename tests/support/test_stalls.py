"""Watch measures pauses of the machine, and such a pause causes another round."""

import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.support import stalls
from tests.support.stalls import ROUNDS, conclusive, conclusively

STILL = 0.5  # seconds
WATCHED = """
import json, sys
from tests.support.stalls import Watch
with Watch() as watch:
    print("watching", flush=True)
    sys.stdin.readline()
print(json.dumps(watch.stalls))
"""


def test_a_process_that_was_not_run_knows_it():
    """A process that was stopped measures the pause by the clock that all processes share."""
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(STILL)
        process.send_signal(signal.SIGCONT)
        found = json.loads(process.communicate("\n")[0])

    assert max(end - begin for begin, end in found) >= STILL - 0.1


@pytest.mark.parametrize(("number", "is_quiet"), [(1, True), (10**6, False)])
def test_a_crowded_machine_is_not_quiet(monkeypatch, number, is_quiet):
    """Threads that wait for a core disturb a round as a pause does."""
    monkeypatch.setattr(stalls, "ready", lambda: number)
    monkeypatch.setattr(stalls, "BEARABLE", 3600)
    with stalls.Watch() as watch:
        time.sleep(0.05)
    assert watch.was_quiet is is_quiet


def test_the_threads_of_this_machine():
    """This thread runs, so at least one is counted."""
    assert 1 <= stalls.ready() < 10**6


@pytest.fixture(params=["plain", "coroutine"])
def play(request, monkeypatch):
    """Play rounds with these results, some with pauses; return the last result and the rounds."""

    async def played(results, disturbed):
        left = iter(zip(results, disturbed, strict=True))

        class Watch(SimpleNamespace):
            def __enter__(self):
                self.found, still = next(left)
                self.was_quiet = not still
                watches.append(self)
                return self

            def __exit__(self, *_exc):
                pass

        watches = []
        monkeypatch.setattr(stalls, "Watch", Watch)

        async def play():
            return watches[-1].found

        if request.param == "plain":
            found = conclusive(lambda: watches[-1].found, lambda found: found == "right")
        else:
            found = await conclusively(play, lambda found: found == "right")
        return found, len(watches)

    return played


@pytest.mark.parametrize("disturbed", [True, False])
async def test_what_is_right_is_right(play, disturbed):
    """A right result ends the rounds, with or without a pause."""
    assert await play(["right"], [disturbed]) == ("right", 1)


async def test_what_is_wrong_is_wrong_where_the_machine_ran(play):
    """A wrong result without a pause ends the rounds."""
    assert await play(["wrong"], [False]) == ("wrong", 1)


async def test_a_round_in_which_the_machine_stood_still_is_played_again(play):
    """A wrong result with a pause is repeated, at most ROUNDS times."""
    assert await play(["wrong", "wrong", "right"], [True, True, False]) == ("right", 3)
    assert await play(["wrong", "wrong"], [True, False]) == ("wrong", 2)
    assert await play(["wrong"] * ROUNDS, [True] * ROUNDS) == ("wrong", ROUNDS)
