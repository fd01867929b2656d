"""Pauses of the machine are measured, and excuse a round but not a result."""

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


def test_a_stopped_process_records_the_pause():
    """The pause is recorded by the clock that all processes share."""
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(STILL)
        process.send_signal(signal.SIGCONT)
        found = json.loads(process.communicate("\n")[0])

    assert max(end - begin for begin, end in found) >= STILL - 0.1


@pytest.fixture(params=["plain", "coroutine"])
def play(request, monkeypatch):
    """Play rounds with these results, on a machine that paused in these. Return the last result."""

    async def played(results, disturbed):
        left = iter(zip(results, disturbed, strict=True))

        class Watch(SimpleNamespace):
            def __enter__(self):
                self.found, still = next(left)
                self.stalls = [(0.0, 1.0)] if still else []
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
async def test_a_good_result_counts(play, disturbed):
    """A good result counts whether the machine paused or not."""
    assert await play(["right"], [disturbed]) == ("right", 1)


async def test_a_bad_result_without_a_pause_counts(play):
    """There is no second round."""
    assert await play(["wrong"], [False]) == ("wrong", 1)


async def test_a_round_in_which_the_machine_stood_still_is_played_again(play):
    """A bad round with a pause is repeated, up to a bound."""
    assert await play(["wrong", "wrong", "right"], [True, True, False]) == ("right", 3)
    assert await play(["wrong", "wrong"], [True, False]) == ("wrong", 2)
    assert await play(["wrong"] * ROUNDS, [True] * ROUNDS) == ("wrong", ROUNDS)
