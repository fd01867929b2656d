"""The examples of docs/admin-api.md work as they stand there. The one in Go is in go_example.py."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from authz.settings import model
from tests.support.docs.examples import blocks, environment, lacking, run
from tests.support.rpc.admin import AdminRig

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = re.compile(r"keys/[0-9A-Za-z]{16}")


async def test_the_variables_of_the_page_are_no_settings(rig: AdminRig) -> None:
    """A command in the shell of the examples works: it takes every AUTHZ_ variable as a setting."""
    (block,) = [each for each in blocks("## Examples") if each.text.startswith("export ")]
    names = re.findall(r"(\w+)=", block.text)
    assert set(names) == set(await environment(rig))
    model.load(None, environ=dict.fromkeys(names, "127.0.0.1:9193"))


async def test_the_python_example(rig: AdminRig, tmp_path: Path) -> None:
    """The example issues a key and prints its name and its text."""
    (block,) = [each for each in blocks("## Call it") if each.language == "python"]
    file = tmp_path / "example.py"
    file.write_text(block.text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(file)),
        env=os.environ | await environment(rig),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    name, text = out.decode().split()
    assert NAME.fullmatch(name)
    assert name.removeprefix("keys/") in text


@pytest.mark.skipif(bool(lacking("curl", "jq")), reason=lacking("curl", "jq"))
async def test_the_curl_example(rig: AdminRig, tmp_path: Path) -> None:
    """Create, rotate, list and revoke over REST. The files with secrets are for their owner."""
    (block,) = blocks("### curl")
    listed, confirmed = await run(block.text, tmp_path, await environment(rig))
    assert NAME.fullmatch(listed)
    assert confirmed == "true"
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


@pytest.mark.skipif(bool(lacking("grpcurl", "jq")), reason=lacking("grpcurl", "jq"))
async def test_the_grpcurl_example(rig: AdminRig, tmp_path: Path) -> None:
    """The same over gRPC, by reflection."""
    (block,) = blocks("### grpcurl")
    listed, confirmed = await run(block.text, tmp_path, await environment(rig))
    assert NAME.fullmatch(listed)
    assert confirmed == "true"
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
