"""Limits of the process: open files, and no core dumps."""

import resource
import subprocess
import sys
from pathlib import Path

from tests.support.real import Valkey, eventually
from tests.support.serving import Serving

SCRIPT = """
import ctypes, resource
from authz.process.hardening import disable_core_dumps, raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
disable_core_dumps()
PR_GET_DUMPABLE = 3
print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE), resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_the_limits_are_applied():
    """The soft limit on files becomes the hard one, and the process is not dumpable."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["200 (200, 200)", "0 (0, 0)"]


async def test_a_sidecar_applies_them_at_its_start(tmp_path: Path, valkey: Valkey):
    """The kernel shows the limits of the running process, which its owner cannot trace."""
    with Serving(tmp_path, valkey) as sidecar:
        await eventually(lambda: sidecar.look("/healthz")[0] == 200)
        soft, hard = resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        assert resource.prlimit(sidecar.pid, resource.RLIMIT_CORE) == (0, 0)
