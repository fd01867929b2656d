"""Process guard: ends a process group and removes its directory after the owner has ended.

    python -m authz.cli.process_guard    owns a new process group, prints its directory, reads stdin

The owner starts its children in the guard's process group and holds the other end of stdin. The
end of the owner, also by SIGKILL, closes stdin. Then the guard ends the group and removes the
directory.
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
    """Print a new directory, wait for the end of stdin, then end the process group and remove it.

    Without a directory it prints an empty line and why, and ends.

    If stdin ends without text, the owner was killed: the children get SIGTERM, then SIGKILL after
    GRACE_SECONDS (1 s). With text they have ended. The guard is in the group and ends with it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        directory = Path(tempfile.mkdtemp(prefix="authz-dev-"))
    except OSError as cause:
        print(f"\n{cause.strerror}", flush=True)
        return
    with contextlib.suppress(BrokenPipeError):  # the owner has ended already
        print(directory, flush=True)
    goodbye = sys.stdin.read()
    if not goodbye:  # the owner was killed: its children still run
        os.killpg(0, signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
