"""A report of a leaked key to a real `authz admin`, and the event that follows."""

import asyncio
import json
import os
import re
import secrets
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import yaml

from authz.core.new_keys import KeySpec
from authz.core.notifications.bodies import signing_secret, webhook_headers
from authz.core.records import Status
from authz.core.roles import Role
from authz.settings import model
from authz.wiring import administration
from tests.process.test_notification_receivers import SECRET
from tests.rpc.admin.kills import AdminServing

GUIDE = Path(__file__).parents[2] / "docs" / "leaks.md"


def as_documented(folder, http):
    """Run the script of the guide that sends a report, in this folder. Return what it prints."""
    (script,) = re.findall(r"```sh\n(body=.*?)\n```", GUIDE.read_text(), re.DOTALL)
    environ = os.environ | {"REST": f"http://{http}"}
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout


def post(http, body, signed_by=SECRET):
    """Send a report and return the status and the document of the answer."""
    headers = webhook_headers(
        secrets.token_hex(8), body, [signing_secret(signed_by)], int(time.time())
    )
    request = urllib.request.Request(f"http://{http}/v1/leaks/report", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        return refused.code, json.load(refused)


async def test_a_report(valkey, tmp_path):
    """A signed report ends the key over HTTP. One with another signature ends nothing."""
    serving = AdminServing(tmp_path, valkey.url)
    (tmp_path / "secret").write_text(SECRET)
    text = yaml.safe_load(serving.file.read_text()) | {"leaks": {"secret_file": "secret"}}
    serving.file.write_text(yaml.safe_dump(text))
    serving.settings = model.load(serving.file, environ={})
    await serving.issue(Role.ADMIN)
    async with administration.administration(serving.settings) as lifecycle:
        spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
        leaked = await lifecycle.issue(spec, lifecycle.author("tests"))
        kid, body = leaked.record.kid, json.dumps([{"token": leaked.key_text}]).encode()
        await asyncio.to_thread(serving.start)
        try:
            other = "whsec_" + "A" * 32
            status, _ = await asyncio.to_thread(post, serving.http, body, other)
            assert (status, (await lifecycle.show(kid)).status) == (401, Status.ACTIVE)
            status, answer = await asyncio.to_thread(post, serving.http, body)
            assert (status, answer[0]["label"]) == (200, "true_positive")
            assert (await lifecycle.show(kid)).status is Status.REVOKED
            second = await lifecycle.issue(spec, lifecycle.author("tests"))
            (tmp_path / "key.txt").write_text(f"{second.key_text}\n")
            (tmp_path / "leak-secret").write_text(f"{SECRET}\n")
            answered = await asyncio.to_thread(as_documented, tmp_path, serving.http)
            assert "true_positive" in answered
            assert (await lifecycle.show(second.record.kid)).status is Status.REVOKED
        finally:
            serving.close()
    assert leaked.key_text not in serving.log.read_text()
