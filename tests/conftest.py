"""Fixtures for every suite."""

import re
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.real import Valkey

# A shell starts background jobs with Ctrl-C ignored, and nohup its program with SIGHUP ignored. All
# that the tests start would ignore them, too.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
for ending in ENDING:
    if signal.getsignal(ending) is signal.SIG_IGN:
        is_ctrl_c = ending is signal.SIGINT
        signal.signal(ending, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)

# A noisy machine is not a failure: no example has a deadline, and making them may take its time.
settings.register_profile("authz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("authz")

# The files below these take longest. Processes that share a run begin them first, so that none of
# them runs alone at the end.
LONG = ("tests/chaos/", "tests/upgrade/", "tests/system/", "tests/wiring/")

LONGEST_ID = 40  # characters
KEY = re.compile("(live|test)[_-]", re.IGNORECASE)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a key and a long text by its argument.

    Keys of tests are new in each process, and processes that share a run need the same ids.
    """
    if isinstance(val, str) and (len(val) > LONGEST_ID or KEY.search(val)):
        return argname
    return argname if isinstance(val, bytes) and len(val) > LONGEST_ID else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of LONG first. All others keep their order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Handlers of one test do not get the signals of another: a uvloop leaves its own in place."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    """One server for the whole session. Tests use `valkey` instead."""
    with Valkey() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: Valkey) -> Valkey:
    """An empty server that other tests share. A test must not stop or configure it."""
    shared_valkey.reset()
    return shared_valkey


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server of one test, which may damage it."""
    with Valkey() as server:
        yield server
