"""`make mesh` says what it lacks, and runs where everything is there."""

import os
import subprocess
import sys

from tests.support.docs import ROOT


def test_a_missing_program_is_named_and_its_part_skipped() -> None:
    """Without programs on the PATH each part is skipped with what it needs, and nothing fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mesh", "--no-build"],
        check=False,
        cwd=ROOT,
        env=os.environ | {"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert lines
    for line in lines:
        assert line.startswith("  skipped: needs etcd (Debian's package etcd-server), kubectl")
