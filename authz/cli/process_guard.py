"""Reaper: ends a group of processes and their directory when their owner is gone, however it went.

    python -m authz.cli.process_guard    owns a new process group, prints its directory, reads stdin

The owner starts its children in the reaper's process group and holds the other end of stdin. When
that closes, also by a SIGKILL of the owner, the reaper ends the group and removes the directory.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

GRACE_SECONDS = 1.0


def main() -> None:
    """Wait for the owner's end, then leave nothing behind."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    directory = Path(tempfile.mkdtemp(prefix="authz-dev-"))
    with contextlib.suppress(BrokenPipeError):  # the owner is gone already
        print(directory, flush=True)
    farewell = sys.stdin.read()
    if not farewell:  # the owner died: its children are still there
        os.killpg(0, signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
