"""The example of docs/admin-api.md works as it stands there."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from authz.core.roles import Role
from tests.support.docs import ROOT
from tests.support.rpc.admin import AdminRig

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = ROOT / "docs" / "admin-api.md"


async def test_the_python_example(rig: AdminRig, tmp_path: Path) -> None:
    """The example issues a key and prints its name and its text."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "example.py"
    file.write_text(block)
    _, key = await rig.issue([Role.ADMIN.scope])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(file),
        env=os.environ | {"AUTHZ_ADMIN": str(rig.process.server.address), "AUTHZ_KEY": key},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    name, text = out.decode().split()
    assert re.fullmatch(r"keys/[0-9A-Za-z]{16}", name)
    assert name.removeprefix("keys/") in text
