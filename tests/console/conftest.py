"""A running console, and a browser."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from authz.console.pages import key_list
from tests.support.console.browser import chromium
from tests.support.console.installation import Console, console_on
from tests.support.real import Valkey


@pytest.fixture(autouse=True)
def whole_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first answer of a search have its rows, also on a busy machine."""
    monkeypatch.setattr(key_list, "FIRST_SECONDS", 30.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium for the tests of a module."""
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(
    shared_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Console]:
    """A console whose store is empty for the first test of a module."""
    shared_valkey.reset()
    async with console_on(shared_valkey, tmp_path_factory.mktemp("console")) as running:
        yield running
