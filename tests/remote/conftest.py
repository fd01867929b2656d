"""Fixtures of commands over the admin API: the directory and the store of command tests."""

from tests.cli.conftest import empty_store, no_store, store

__all__ = ["empty_store", "no_store", "store"]
