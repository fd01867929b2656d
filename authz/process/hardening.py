"""Limits of this process that the operating system keeps: open files and core dumps."""

import ctypes
import resource
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4  # prctl(2)


def raise_file_limit() -> int:
    """Raise the soft limit on open files to the hard limit.

    Return the hard limit (number of files).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def disable_core_dumps() -> None:
    """Disable core dumps, so that the pepper and keys in flight stay out of files.

    On Linux also make the process not dumpable. The limit alone does not stop a core handler that
    takes the dump through a pipe. A process that is not dumpable can also not be traced by other
    processes of its user.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
