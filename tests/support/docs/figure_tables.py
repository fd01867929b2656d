"""The tables of figures, from docs/figures.json."""

from collections.abc import Iterator
from typing import Final

from tests.bench.figures import Figure, number, published

SERVERS: Final = {
    "authz": "authz, `fast`",
    "authz_grpcio": "authz, `grpcio`",
    "go_api_key": "a plain Go server with the same job",
    "istio_sample": "Istio's ext_authz sample",
    "opa": "OPA-Envoy 1.19.1",
    "authorino": "Authorino 0.27.0",
    "constant": "our transport, a constant answer",
}
PROXIED: Final = {
    "none": "no filter",
    "api_key_auth": "Envoy's `api_key_auth`, keys in plain text",
    "authz": "authz, `fast`",
    "go_api_key": "a plain Go server with the same job",
    "opa": "OPA-Envoy 1.19.1",
    "authorino": "Authorino 0.27.0",
}


def figures(*groups: str) -> str:
    """Return one row for each figure whose name begins with one of the groups."""
    found = {name: figure for name, figure in published().items() if name.split(".")[0] in groups}
    rows = [_row(name, figure) for name, figure in found.items()]
    head = "| name | measured | value | lowest and highest | command | date |\n"
    return head + "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows)


def _row(name: str, figure: Figure) -> str:
    spread = "" if figure.spread is None else " to ".join(map(number, figure.spread))
    command = f"`{figure.command}`" if " -m " in figure.command else figure.command
    cells = (f"`{name}`", figure.about, str(figure), spread, command, figure.date)
    return f"| {' | '.join(cells)} |"


def direct() -> str:
    """Return the table of servers that are asked without a proxy."""
    columns = "server, on one core | Checks/s | processor time | one in flight, p50 | memory"
    return f"| {columns} |\n| --- | --- | --- | --- | --- |\n" + "\n".join(
        _beside("direct", SERVERS)
    )


def through_envoy() -> str:
    """Return the table of servers that one Envoy worker asks."""
    head = (
        "| Envoy asks | requests/s | Envoy's processor time of a request | one in flight, p50 |\n"
    )
    return head + "| --- | --- | --- | --- |\n" + "\n".join(_beside("envoy", PROXIED))


def _beside(group: str, servers: dict[str, str]) -> Iterator[str]:
    found = published()
    kinds = ("rate", "cpu", "p50", "rss")
    for server, words in servers.items():
        names = [f"{group}.{server}.{kind}" for kind in kinds]
        cells = [
            number(found[name].value) if name.endswith("rate") else str(found[name])
            for name in names
            if name in found
        ]
        yield f"| {words} | {' | '.join(cells)} |"


def machines() -> str:
    """Return the machines that the figures come from, with the dates."""
    found = sorted({(figure.machine, figure.date) for figure in published().values()})
    return "\n".join(f"- {date}: {machine}" for machine, date in found)
