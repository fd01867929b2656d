"""Requests that schemathesis makes from the OpenAPI document: `make fuzz-rest`.

A process `authz admin` on a real store answers them. No answer may be a 5xx, have a status that the
document does not know, or differ from its schema, and the log may have no traceback. The credential
must work to the end, so that no part of the run is refused from the door on.

One method is left out: WatchChanges, a stream that ends only with its reader. Each made-up request
would wait until it times out. tests/rpc/admin/fuzz.py makes its calls, with a deadline of its own.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Final

from tests.support.cli.terminal import environment, run
from tests.support.real import Valkey
from tests.support.rpc.admin_command import AdminCommand

_CALLS: Final = re.compile(
    r'^authz_admin_calls_total\{[^}]*code="(\w+)"[^}]*\} (\S+)$', re.MULTILINE
)
CHECKS: Final = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance"),
)
SETTINGS: Final = """
tokens: {issuer: https://auth.example.com}
events: {sinks: {siem: {kind: log}}}
rotation: {default: {rotate_every: 1d}}
"""
ENDLESS: Final = "/v1/changes:watch"


def main() -> int:
    """Run schemathesis, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program `schemathesis`")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", default="1")
    given = parser.parse_args()
    program = str(Path(given.program).absolute())
    with Valkey() as valkey, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.environ |= environment(valkey.url, directory)
        os.chdir(directory)
        assert run("init").code == 0
        key = run("keys", "issue", "--client", "fuzz", "--scope", "authz:admin").out.strip()
        for client in ("acme-web", "acme-batch"):
            assert run("keys", "issue", "--client", client, "--limit", "10/s").code == 0
        file = directory / "authz.yaml"
        file.write_text(SETTINGS)
        with AdminCommand(file, directory) as server:
            code = _schemathesis(program, server.http, key, given.seconds, given.seed)
            answered = _answered(server.http)
            _check_credential(server.http, key)
        log = next(directory.glob("admin-*.log")).read_text()
    if "Traceback" in log:
        sys.stderr.write(log[log.index("Traceback") :][:4000])
        return 1
    sys.stdout.write(f"answers by code: {answered}\n")
    return code or int(not answered.get("OK"))


def _answered(http: str) -> dict[str, int]:
    """Return the number of calls by gRPC code."""
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    found: Counter[str] = Counter()
    for code, number in _CALLS.findall(page):
        found[code] += int(float(number))
    return {code: number for code, number in found.items() if number}


def _check_credential(http: str, key: str) -> None:
    """Raise HTTPError if the server does not know the caller any more."""
    headers = {"authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"http://{http}/v1/whoami", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def _schemathesis(program: str, http: str, key: str, seconds: int, seed: str) -> int:
    file = Path("schemathesis.toml").absolute()
    file.write_text(f'headers = {{ authorization = "Bearer {key}" }}\n')
    command = [
        *(program, "--config-file", str(file), "run", f"http://{http}/openapi.json"),
        *("--checks", ",".join(CHECKS), "--max-time", str(seconds), "--seed", seed),
        *("--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"),
        *("--request-timeout", "30", "--warnings", "off", "--exclude-path", ENDLESS),
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
