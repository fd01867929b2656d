"""Every test that needs an event loop runs on asyncio's own and on uvloop."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    """Run each test on both event loops. A hook of pytest-asyncio."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
