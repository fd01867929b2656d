"""The settings and the Envoy configuration of `authz dev`."""

import ipaddress
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files as packaged
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import yaml

from authz.core import fields
from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.proxy.chains import Expected
from authz.proxy.llm import PER_ROUTE
from authz.proxy.repair import repair
from authz.settings import files, includes, model

# A store or a key of another installation must never be used, whatever the environment says.
FOREIGN: Final = re.compile(r"AUTHZ_(CONFIG|(?i:REDIS|KEYS)(__.*)?)")
TAKEN: Final = (
    "routes",
    "routes_default",
    "routes_case",
    "routes_suffix",
    "plans",
    "pools",
    "limits",
    "prices",
)
BACKEND: Final = re.compile(
    r"http://(\[[0-9a-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?/?", re.ASCII
)
LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
NUMBER: Final = re.compile(r"\d+|0[xX][0-9A-Fa-f]*", re.ASCII)  # such a last label: an IPv4 address
ISSUER_HOST: Final = "tokens.localhost"  # RFC 6761: it is this machine
DEMO_AUDIENCE: Final = "demo"
GOOD_BACKEND: Final = "such as http://127.0.0.1:3000"
OWN_ADDRESSES: Final = "`authz dev` has loopback addresses of its own; unset it in the environment"


@dataclass(frozen=True, slots=True)
class Backend:
    """The HTTP server behind Envoy. Its text is `http://HOST:PORT`, with brackets for IPv6."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Backend":
        """Parse an http URL without a path; the port defaults to 80.

        Raises BadInput about --backend for any other URL, a host that is neither a name nor an
        address, or a port outside 1 to 65535. The error shows no user and no password.
        """
        if "@" in url:
            raise BadInput("--backend", f"a URL without user and password, {GOOD_BACKEND}")
        match = BACKEND.fullmatch(url)
        port = int(match[2] or 80) if match else 0
        if match is None or not 0 < port < 1 << 16 or not _is_host(match[1]):
            raise BadInput("--backend", f"{fields.shown(url)}: an http URL, {GOOD_BACKEND}")
        return cls(match[1].strip("[]"), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Return whether the host is an IP address, which needs no DNS."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def _is_host(text: str) -> bool:
    """Return whether a text is an IPv6 address in brackets, an IPv4 address or a DNS name."""
    with suppress(ValueError):
        return (ipaddress.ip_address(text.strip("[]")).version == 6) is text.startswith("[")  # noqa: PLR2004
    labels = text.removesuffix(".").split(".")
    return all(map(LABEL.fullmatch, labels)) and not NUMBER.fullmatch(labels[-1])


def llm_sections() -> dict[str, Any]:
    """Return the settings of `authz dev --llm`, from llm.yaml."""
    tree: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("llm.yaml").read_text())
    return tree


def own_environment() -> dict[str, str]:
    """Return the environment without AUTHZ_CONFIG, AUTHZ_REDIS… and AUTHZ_KEYS….

    These name the store and the keys of another installation.
    """
    return {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}


def foreign_variables() -> list[str]:
    """Return the sorted names of environment variables that `authz dev` ignores; may be empty."""
    return sorted(name for name in os.environ if FOREIGN.fullmatch(name))


def taken_sections(file: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the sections of a settings file that `authz dev` uses, and the names of the others.

    The used ones are listed in TAKEN; of `identity`, `assertion_issuer` alone, which routes may
    need. The names are sorted. Included files belong to the file. Raises BadInput if one of these
    cannot be read or is not valid.
    """
    model.load(file, environ={})
    (joined,) = includes.join([files.read(file)], has_file=True).layers
    taken = {name: joined.tree[name] for name in TAKEN if name in joined.tree}
    others = set(joined.tree) - set(taken) - {"include"}
    identity = dict(joined.tree.get("identity") or {})
    if issuer := identity.pop("assertion_issuer", None):
        taken["identity"] = {"assertion_issuer": issuer}
        others -= set() if identity else {"identity"}
    return taken, sorted(others)


def write_settings(
    directory: Path,
    listeners: Mapping[str, Mapping[str, int]],
    redis: int,
    taken: Mapping[str, Any],
    *,
    gateway: int,
) -> Path:
    """Write authz.yaml and a new random pepper to `directory`. Return the path of authz.yaml.

    listeners: loopback ports by section and setting. redis, gateway: loopback ports. taken: more
    sections for the file. Raises FileExistsError if one of the files exists, OSError if it cannot
    be written.
    """
    pepper, file = directory / "pepper-1", directory / "authz.yaml"
    settings: dict[str, Any] = {
        section: {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        for section, ports in listeners.items()
    }
    settings["admin"]["console"] = {"gateway": f"http://127.0.0.1:{gateway}"}
    settings["meter"]["drain"] = "0"  # the store ends at the same time, and keeps nothing
    settings |= {
        "shutdown": {"delay": "0"},  # no other sidecar takes over
        "redis": {"url": f"redis://127.0.0.1:{redis}/0"},
        "keys": {"peppers": [{"version": "1", "file": str(pepper)}]},
        "tokens": {"issuer": f"http://{ISSUER_HOST}:{gateway}", "audiences": [DEMO_AUDIENCE]},
    }
    _write_new(file, yaml.safe_dump({**taken, **settings}, sort_keys=False))
    _write_new(pepper, token_hex(32))
    return file


def _write_new(file: Path, text: str) -> None:
    file.touch(0o600, exist_ok=False)
    file.write_text(text)


def refuse_other_listeners(
    settings: model.Settings, listeners: Mapping[str, Mapping[str, int]]
) -> None:
    """Raise BadInput for a listen address of the environment.

    listeners: our loopback ports by section and setting. `check.listen` may be any address on this
    machine, and a Unix socket: Envoy follows it.
    """
    for section, ports in listeners.items():
        for name, port in ports.items():
            found = getattr(getattr(settings, section), name)
            if not (found.is_local if section == "check" else found == Address("127.0.0.1", port)):
                raise BadInput(f"{section}.{name}", f"{found}: {OWN_ADDRESSES}")
    health = settings.ops.health_listen
    if health is not None and not health.is_local:
        raise BadInput("ops.health_listen", f"{health}: {OWN_ADDRESSES}")


def envoy_config(
    listen: int, admin: int, meter: int, tokens: int, *, check: Address, backend: Backend
) -> str:
    """Return the shipped `envoy.yaml` as YAML text with these addresses.

    listen, admin, meter, tokens: loopback ports. check: the sidecar's socket, or its port on
    loopback. The host of the issuer is ISSUER_HOST.
    """
    shipped = packaged("authz") / "envoy.yaml"
    if not shipped.is_file():  # in a source tree it is at the top
        shipped = Path(__file__).parents[2] / "envoy.yaml"
    config = yaml.safe_load(shipped.read_text())
    _place(config["admin"], "127.0.0.1", admin)
    resources = config["static_resources"]
    _place(resources["listeners"][0], "127.0.0.1", listen)
    (chain,) = resources["listeners"][0]["filter_chains"]
    for host in chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]:
        if host["name"] == "tokens":
            host["domains"] = [ISSUER_HOST]
    for cluster in resources["clusters"]:
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        if cluster["name"] == "backend":
            cluster["type"] = "STATIC" if backend.is_address else "STRICT_DNS"
            _place(endpoint, backend.host, backend.port)
        elif cluster["name"] == "authz_usage":
            _place(endpoint, "127.0.0.1", meter)
        elif cluster["name"] == "authz_tokens":
            _place(endpoint, "127.0.0.1", tokens)
        elif check.path:
            endpoint["address"] = {"pipe": {"path": check.path}}
        else:
            _place(endpoint, "127.0.0.1", check.port)
    return yaml.safe_dump(config, sort_keys=False)


def with_llm(text: str, expected: Expected) -> str:
    """Return an Envoy configuration of `envoy_config` with the filter for LLMs, on at /v1.

    `authz envoy patch` would make the same changes, apart from the route.
    """
    config = yaml.safe_load(text)
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    hosts = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    (host,) = (one for one in hosts if one["name"] == "api")
    *others, last = host["routes"]
    llm = {"match": {"prefix": "/v1"}, "route": last["route"], **PER_ROUTE}
    host["routes"] = [*others, llm, last]
    repair([config], expected)
    return yaml.safe_dump(config, sort_keys=False)


def repaired(text: str, expected: Expected) -> str:
    """Return an Envoy configuration that shows the sidecar each header that its routes need."""
    config = yaml.safe_load(text)
    repair([config], expected)
    return yaml.safe_dump(config, sort_keys=False)


def _place(node: dict[str, Any], host: str, port: int) -> None:
    node["address"] = {"socket_address": {"address": host, "port_value": port}}
