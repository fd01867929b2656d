"""A process of the admin API, for commands that use it in place of the store."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

import trustme
import yaml

from tests.support.cli.terminal import AUTHZ
from tests.support.real import PATIENCE, free_port
from tests.support.rpc.certificates import certificate_with_uri

VARIABLE = "AUTHZ_ADMIN"
URI = "spiffe://cluster.local/ns/ops/sa/cli"


class Files:
    """The certificates of a server, and of an administrator."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.cert, self.private = directory / "server.pem", directory / "server.key"
        self.root, self.client_ca = directory / "root.pem", directory / "clients.pem"
        self.own_cert, self.own_key = directory / "own.pem", directory / "own.key"
        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        server.cert_chain_pems[0].write_to_path(self.cert)
        server.private_key_pem.write_to_path(self.private)
        authority.cert_pem.write_to_path(self.root)
        key, cert, ca = certificate_with_uri(URI)
        for file, content in ((self.own_key, key), (self.own_cert, cert), (self.client_ca, ca)):
            file.write_bytes(content)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a server that knows the administrator by the certificate alone."""
        tls = {"cert": str(self.cert), "key": str(self.private), "client_ca": str(self.client_ca)}
        return {"tls": tls, "certificates": {URI: {"role": "admin"}}}

    @property
    def environment(self) -> dict[str, str]:
        """The variables of commands of the administrator."""
        return {
            "AUTHZ_ADMIN_CA": str(self.root),
            "AUTHZ_ADMIN_CERT": str(self.own_cert),
            "AUTHZ_ADMIN_KEY": str(self.own_key),
        }


class AdminCommand:
    """A process `authz admin` on a free port, until it is closed. file: of its settings.

    Its store is that of the environment. program: a command that stands in for `authz`.
    """

    def __init__(
        self, file: Path | None, directory: Path, *, program: Sequence[str] = AUTHZ, **admin: Any
    ) -> None:
        self._program = program
        self.address, self.http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        found = yaml.safe_load(file.read_text()) if file else {}
        own = {"listen": self.address, "http_listen": self.http, "calls_per_second": 100_000}
        found |= {"admin": own | admin, "shutdown": {"delay": "0"}}
        self._file = directory / f"admin-{self.address}.yaml"
        self._file.write_text(yaml.safe_dump(found))

    def __enter__(self) -> Self:
        command = [*self._program, "--config", str(self._file), "admin"]
        kept = {name: text for name, text in os.environ.items() if not name.startswith(VARIABLE)}
        with self._file.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=kept)
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self._file.with_suffix(".log").read_text()[-2000:])
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(PATIENCE) == 0

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=5) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except URLError:
            return False
