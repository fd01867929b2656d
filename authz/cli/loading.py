"""Commands are imported when they are used, so that others start fast."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import click


def load_command(module: str, name: str) -> click.Command:
    """Import a module of `authz.cli` and return its command of this name."""
    with _default_interrupt():
        command: click.Command = getattr(import_module(f"authz.cli.{module}"), name)
    return command


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the process at once while a command is imported.

    A KeyboardInterrupt inside an import can surface as an error of the imported library. Outside
    the main thread, or with another handler of SIGINT, this does nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
