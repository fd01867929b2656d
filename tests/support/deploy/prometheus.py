"""A real Prometheus that scrapes and evaluates twice a second."""

import json
import math
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

import yaml

from tests.support.deploy.rules import FILE, program
from tests.support.real import free_port

OFTEN = "500ms"


class Prometheus:
    """Scrapes `targets` (host:port) as the job `authz`, with the rules.

    with Prometheus(directory, [target]) as prometheus: ...
    """

    def __init__(self, directory: Path, targets: list[str]) -> None:
        self._directory = directory
        self._port = free_port()
        wanted: dict[str, Any] = {
            "global": {"scrape_interval": OFTEN, "evaluation_interval": OFTEN},
            "rule_files": [str(FILE)],
            "scrape_configs": [{"job_name": "authz", "static_configs": [{"targets": targets}]}],
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(wanted))

    def __enter__(self) -> Self:
        directory = self._directory
        command = [program("prometheus"), f"--config.file={directory / 'prometheus.yaml'}"]
        command += [f"--storage.tsdb.path={directory / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn"]
        with (directory / "prometheus.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.wait()

    def is_ready(self) -> bool:
        """Return whether Prometheus is ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5):
                return True
        except (URLError, OSError):
            return False

    def values(self, query: str) -> list[float]:
        """Return the numbers of an instant query. NaN, such as 0 / 0, is left out."""
        asked = urllib.parse.urlencode({"query": query})
        url = f"http://127.0.0.1:{self._port}/api/v1/query?{asked}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        numbers = (float(one["value"][1]) for one in found)
        return [number for number in numbers if not math.isnan(number)]
