"""The example in Go of docs/admin-api.md: `make examples`.

It is apart from the other tests, because gRPC for Go takes a minute to build where it was never
built. Later runs find it in the cache of Go.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.docs import ROOT
from tests.support.docs.examples import blocks, environment, lacking, run
from tests.support.rpc.admin import AdminRig

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_go_example(rig: AdminRig, tmp_path: Path) -> None:
    """Stubs are generated from our messages. The program creates, rotates, lists and revokes."""
    assert not lacking("go"), lacking("go")
    stubs, program, start = blocks("### Go")
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    protoc = tmp_path / "bin" / "protoc"  # that of our own generator
    protoc.parent.mkdir()
    protoc.write_text(f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o700)
    (tmp_path / "main.go").write_text(program.text)
    script = f'PATH="{protoc.parent}:$PATH"\n{stubs.text}{start.text}'
    secrets, listed, confirmed = await run(script, tmp_path, await environment(rig))
    name = secrets.removesuffix(" has 2 secrets")
    assert re.fullmatch(r"keys/[0-9A-Za-z]{16}", name)
    assert listed == f"{name} go-web"
    assert confirmed == "confirmed by all sidecars: true"
