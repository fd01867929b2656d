"""`authz abuse`: clients whose failures are refused without a look, and networks that never are."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import click

from authz.cli.actor import actor
from authz.cli.administration import stored_settings
from authz.cli.columns import columns
from authz.cli.counted import counted
from authz.cli.invocation import Invocation, common, write_warning
from authz.cli.over_api import admin_target, is_over_api
from authz.cli.session_loop import within
from authz.cli.terminal import escaped
from authz.core.abuse import AbuseControl, AbuseState, network_of
from authz.core.errors import BadInput
from authz.core.failure_budget import client_of
from authz.core.fields import shown
from authz.core.times import rfc3339
from authz.flows.by import By

_T = TypeVar("_T")
_ADDRESS: Final = "ADDRESS"
EVERYBODY: Final = ("0.0.0.0/0", "::/0")


@click.group(no_args_is_help=False)
@common
def abuse() -> None:
    """List blocked clients, end blocks, and allow networks.

    A client that fails to authenticate too often is blocked for `abuse.block`: its further failures
    get 429. Requests with a good key are never refused for their address.

    \b
    Examples:
      authz abuse list
      authz abuse clear 203.0.113.7
      authz abuse allow 203.0.113.0/24
    """


@abuse.command("list")
@common
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """List the blocked clients of all sidecars, and the allowed networks.

    \b
    Examples:
      authz abuse list
      authz abuse list --json | jq -r '.blocked[].client'
    """
    found: AbuseState = _with_control(invocation, lambda control: control.read())
    blocked = [
        {"client": client, "until": rfc3339(until)}
        for client, until in sorted(found.blocked.items(), key=lambda one: (-one[1], one[0]))
    ]
    allowed = [{"network": name, "by": by} for name, by in sorted(found.allowed.items())]
    rows = [("blocked", escaped(one["client"]), one["until"]) for one in blocked]
    rows += [("allowed", escaped(one["network"]), escaped(one["by"])) for one in allowed]
    text = columns([("STATE", "NETWORK", "UNTIL OR AUTHOR"), *rows]) if rows else "none is blocked"
    invocation.answer({"blocked": blocked, "allowed": allowed}, text)


def _clients(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> list[str]:
    found = [client_of(text.partition("/")[0]) for text in value]
    for text, client in zip(value, found, strict=True):
        if not client or ("/" in text and not _is_spelling(text, client)):
            problem = "is not an address, such as 203.0.113.7, or a client of `authz abuse list`"
            raise BadInput(_ADDRESS, f"{shown(text)} {problem}")
    return found


def _is_spelling(text: str, client: str) -> bool:
    """Return whether a text is a listed IPv6 network, such as `2001:DB8::/64`."""
    try:
        return str(network_of(_ADDRESS, text)) == client
    except BadInput:
        return False


@abuse.command()
@click.argument("clients", nargs=-1, metavar=f"[{_ADDRESS}]...", callback=_clients)
@click.option("--all", "every", is_flag=True, help="All blocks.")
@common
@click.pass_obj
def clear(invocation: Invocation, clients: list[str], *, every: bool) -> None:
    """End the block of some clients, or of all. Their failures are counted anew.

    Sidecars follow within seconds.

    \b
    Examples:
      authz abuse clear 203.0.113.7 2001:db8::1
      authz abuse clear --all
    """
    if every == bool(clients):
        raise click.UsageError("give either addresses or --all")
    author = By(actor()).author()
    ended = _with_control(invocation, lambda control: control.clear(clients, author))
    invocation.answer({"cleared": ended}, f"{counted(ended, 'block')} ended")


def _network(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return str(network_of("NETWORK", value))


@abuse.command()
@click.argument("network", metavar="NETWORK", callback=_network)
@click.option("--remove", is_flag=True, help="Take the network back.")
@common
@click.pass_obj
def allow(invocation: Invocation, network: str, *, remove: bool) -> None:
    """Allow a network, such as that of a load test: its clients are never blocked.

    At most 100 networks are allowed. Sidecars follow within seconds.

    \b
    Examples:
      authz abuse allow 203.0.113.0/24
      authz abuse allow 203.0.113.0/24 --remove
    """
    author = By(actor()).author()
    is_new = _with_control(
        invocation, lambda control: control.allow(network, author, remove=remove)
    )
    if not remove and network in EVERYBODY:
        kind = "IPv6" if ":" in network else "IPv4"
        write_warning(f"{network} is every {kind} address: no client with one is blocked any more")
    word = "no longer allowed" if remove else "allowed"
    invocation.answer(
        {"network": network, "allowed": not remove, "changed": is_new}, f"{network} is {word}"
    )


def _with_control(invocation: Invocation, work: Callable[[AbuseControl], Awaitable[_T]]) -> _T:
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.abuse(admin_target(invocation)), work)
    from authz.wiring import administration  # noqa: PLC0415

    return within(administration.abuse_control(stored_settings(invocation)), work)
