"""The configuration of Envoy and the static page of docs/browsers.md, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
PAGE_FILES: Final = ROOT / "deploy" / "browser"
MARKED: Final = "/public"
VENDOR_KEY: Final = "Bearer sk-of-the-vendor"
EXT_AUTHZ: Final = "envoy.filters.http.ext_authz"


def snippet(name: str) -> Any:
    """Return the YAML below a mark of the page."""
    page = (ROOT / "docs" / "browsers.md").read_text()
    text = page.partition(f"<!--{name}-->\n```yaml\n")[2].partition("```")[0]
    assert text, name
    return yaml.safe_load(text)


def allow_browsers(manager: dict[str, Any], origin: str) -> None:
    """Add CORS for this origin, and a marked route in front of the others."""
    manager["http_filters"].insert(0, snippet("cors-filter"))
    for host in manager["route_config"]["virtual_hosts"]:
        policy = snippet("cors-policy")
        (only,) = policy.values()
        only["allow_origin_string_match"] = [{"exact": origin}]
        host.setdefault("typed_per_filter_config", {}).update(policy)
    api = _api(manager)
    marked = deepcopy(api["routes"][-1])
    marked["match"] = {"prefix": MARKED}
    marked["typed_per_filter_config"] = deepcopy(snippet("vendor-route")["typed_per_filter_config"])
    settings = marked["typed_per_filter_config"][EXT_AUTHZ]["check_settings"]
    settings["context_extensions"] = {"public": "true", "scopes": "demo:read"}
    api["routes"].insert(0, marked)


def add_vendor(whole: dict[str, Any], secret: Path) -> None:
    """Add the vendor of the page: its cluster is another name of the backend.

    secret: the file with its key, which is written.
    """
    content = snippet("vendor-secret")
    content["resources"][0]["generic_secret"]["secret"]["inline_string"] = VENDOR_KEY
    secret.write_text(yaml.safe_dump(content))
    whole.update(snippet("node"))
    resources = whole["static_resources"]
    (backend,) = (one for one in resources["clusters"] if one["name"] == "backend")
    vendor = deepcopy(backend) | {"name": "vendor"} | snippet("credential-injector")
    vendor["load_assignment"]["cluster_name"] = "vendor"
    (options,) = vendor["typed_extension_protocol_options"].values()
    (injector,) = (one for one in options["http_filters"] if "injector" in one["name"])
    source = injector["typed_config"]["credential"]["typed_config"]["credential"]["sds_config"]
    source["path_config_source"]["path"] = str(secret)
    resources["clusters"].append(vendor)
    chain = resources["listeners"][0]["filter_chains"][0]
    _api(chain["filters"][0]["typed_config"])["routes"].insert(0, snippet("vendor-route"))


def _api(manager: dict[str, Any]) -> dict[str, Any]:
    hosts = manager["route_config"]["virtual_hosts"]
    found: dict[str, Any] = next(one for one in hosts if one["name"] == "api")
    return found


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write no line."""


@contextmanager
def site(directory: Path, port: int) -> Iterator[None]:
    """Serve a folder on a loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(directory)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def write_page(directory: Path, *, issuer: str, api: str, key: str) -> None:
    """Write the example with the values of an installation. issuer, api: URLs without a path."""
    for file in PAGE_FILES.iterdir():
        text = file.read_text()
        text = text.replace("https://auth.example.com", issuer)
        text = text.replace("https://api.example.com", api)
        (directory / file.name).write_text(text.replace("pk_live_YOUR_PUBLISHABLE_KEY", key))
