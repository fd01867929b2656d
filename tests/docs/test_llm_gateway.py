"""The examples of docs/llm-gateway.md, run as they stand there."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.docs import ROOT
from tests.support.system import running

PAGE = (ROOT / "docs/llm-gateway.md").read_text()
SECONDS = 60.0


def block(language: str) -> str:
    """Return the only block of code in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def test_the_sdks_print_what_the_page_shows():
    """The program of the page runs against `authz dev --llm` with the key that it prints."""
    with running(llm=True) as (stack, _):
        environment = os.environ | {"ENVOY": stack.envoy, "KEY": stack.key}
        done = subprocess.run(
            [sys.executable, "-c", block("python")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.stderr == ""
    assert done.stdout == block("text")


@pytest.mark.parametrize("command", re.findall(r"^authz .*$", PAGE, re.MULTILINE), ids=str)
def test_the_commands_of_the_page_exist(command, tmp_path):
    """Each command line of the page is one that the program takes: its help is shown instead."""
    words = re.sub(r"\s+#.*", "", command).split()
    done = subprocess.run(
        [sys.executable, "-m", "authz.cli.main", *words[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
