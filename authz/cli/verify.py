"""`authz keys verify`."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import click

from authz.cli.administration import load_settings, with_session
from authz.cli.invocation import Invocation, common
from authz.cli.options import scopes
from authz.cli.over_api import is_over_api, verify_over_api
from authz.cli.stdin_key import ANY_PREFIX, any_prefix, key_from_stdin
from authz.cli.verdicts import as_document, as_lines
from authz.core import fields
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.keys.pasted import named_kid
from authz.core.keys.text import ENVIRONMENTS
from authz.core.limits.limit import parse_cost
from authz.core.methods import NAMED_METHOD
from authz.core.request import IN_QUERY
from authz.flows.verify import VerdictView
from authz.rpc.check.build_request import carried, check_request, joined
from authz.rpc.check.credential import header_of
from authz.rpc.check.exchange import describe_request, describe_response, in_lines
from authz.rpc.check.verdict_view import NOWHERE, view_of
from authz.settings.model import Extract
from authz.wiring.verification import AdminSession

ALLOWED, DENIED = 0, 1

_AUTHORITY: Final = re.compile(r"[!-+\--~]{1,260}", re.ASCII)  # printable, without a comma
_HEADER: Final = re.compile(r"([A-Za-z0-9!#$%&'*+.^_|~-]{1,64}): ?([\t -~]{0,8192})", re.ASCII)
_CARRIER: Final = re.compile(r"([a-z][a-z0-9-]{0,63})(?:: ?([a-z][a-z0-9-]{0,31})|:)?", re.ASCII)
_MODEL: Final = re.compile(r"[!-~]{1,128}", re.ASCII)
_PATH: Final = re.compile(r"/[!-~]{0,8191}", re.ASCII)


def _shaped(pattern: re.Pattern[str], good: str) -> Callable[..., str]:
    def read(_context: click.Context, parameter: click.Parameter, value: str) -> str:
        if value != parameter.default and not pattern.fullmatch(value):
            raise BadInput(parameter.opts[0], f"{fields.shown(value)}: {good}")
        return value

    return read


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return str(ipaddress.ip_address(value)) if value else ""
    except ValueError:
        problem = f"{fields.shown(value)} is not an address, such as 203.0.113.7"
        raise BadInput("--ip", problem) from None


def _origin(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return fields.line("--origin", value, fields.MAX_ORIGIN)


def _headers_given(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> list[tuple[str, str]]:
    headers = []
    for text in given:
        match = _HEADER.fullmatch(text)
        if match is None:
            problem = f"{fields.shown(text)} is not a header, such as 'x-request-id: 1'"
            raise BadInput("--header", problem)
        headers.append((match[1].lower(), match[2]))
    return headers


def _carrier(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    if text == "query":
        return IN_QUERY
    match = _CARRIER.fullmatch(text.lower()) if text.isascii() else None
    if match is None:
        good = "`header`, `header: Scheme`, `basic:username` or `query`"
        raise BadInput("--carrier", f"{fields.shown(text)}: {good}")
    return f"{match[1]}:{match[2] or ''}"


def _cost(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    return "" if value is None else str(parse_cost("--cost", value))


@click.command()
@click.option(
    "--method",
    metavar="METHOD",
    default="GET",
    callback=_shaped(NAMED_METHOD, "not a method, such as POST"),
    show_default=True,
    help="Method of the request.",
)
@click.option(
    "--host",
    metavar="HOST",
    default="",
    callback=_shaped(_AUTHORITY, "not a host, such as api.example.com"),
    help="Host of the request.",
)
@click.option(
    "--path",
    metavar="PATH",
    default="/",
    callback=_shaped(_PATH, "not a path, such as /v1/models"),
    show_default=True,
    help="Path of the request.",
)
@click.option(
    "--ip", metavar="ADDRESS", default="", callback=_address, help="Address of the client."
)
@click.option("--origin", metavar="ORIGIN", default="", callback=_origin, help="Origin header.")
@click.option(
    "--scope", metavar="SCOPE", multiple=True, help="Scope that the route requires. Repeatable."
)
@click.option(
    "--env", type=click.Choice(ENVIRONMENTS), help="Environment of the route. Default: check.env."
)
@click.option("--public", is_flag=True, help="The route is marked for publishable keys.")
@click.option(
    "--cost",
    metavar="UNITS",
    callback=_cost,
    help="Units that the route takes from limits. Default: by routes, else 1.",
)
@click.option(
    "--model",
    metavar="MODEL",
    default="",
    callback=_shaped(_MODEL, "not a model, such as gpt-4o"),
    help="Model that the body asks for, for routes that take it from there.",
)
@click.option(
    "--header",
    metavar="'NAME: VALUE'",
    multiple=True,
    callback=_headers_given,
    help="Another header of the request. Repeatable.",
)
@click.option(
    "--carrier",
    metavar="CARRIER",
    callback=_carrier,
    help="Where the key stands: `header`, `header: Scheme`, `basic:username` or `query`.",
)
@common
@click.pass_obj
def verify(
    invocation: Invocation,
    /,
    scope: tuple[str, ...],
    env: str | None,
    header: list[tuple[str, str]],
    carrier: str | None,
    **asked: str,
) -> int:
    """Show the decision on a key, and its reason.

    Reads the key from stdin and never shows it. The key may stand in pasted text, such as an
    assignment or a header. Prints one line for each check. The first check that denies decides; the
    later ones show other obstacles. Takes nothing from limits. Exit code 0: allow, 1: deny.

    With --header or --carrier it also shows the request as Envoy would send it, and what the
    backend and the caller are told.

    \b
    Examples:
      authz keys verify < key.txt
      authz keys verify --host api.example.com --path /v1/models --ip 203.0.113.7 < key.txt
      authz keys verify --carrier 'authorization: Bearer' --header 'origin: https://a.com' < key.txt
      authz keys verify --scope models:generate --cost 5 < key.txt
      authz keys verify --env live --json < key.txt | jq -r .reason
    """
    required = scopes("--scope", scope)
    if is_over_api(invocation):
        if header or carrier:
            option = "--header" if header else "--carrier"
            raise BadInput(
                option, "shows what Envoy does by the settings of a machine: run it there"
            )
        pasted = key_from_stdin("the key", ANY_PREFIX)
        cost = int(asked["cost"]) if asked["cost"] else None
        view = verify_over_api(
            invocation,
            pasted.text,
            method=asked["method"],
            host=asked["host"],
            path=asked["path"],
            client_address=asked["ip"],
            origin=asked["origin"],
            scopes=required,
            env=env or "",
            cost=cost,
            model=asked["model"],
            public=bool(asked["public"]),
        )
        return _tell(invocation, view, named_kid(pasted.text, ANY_PREFIX))
    found = load_settings(invocation)
    extensions = {"scopes": " ".join(sorted(required)), "env": env or "", "cost": asked["cost"]}
    extensions["public"] = "true" if asked["public"] else ""
    prefix = any_prefix(found.keys)
    pasted = key_from_stdin("the key", prefix)
    used = carrier or _carrier_for(found.extract, pasted.carrier)
    path, headers = _carried(found.extract, used, pasted.text, asked["path"])
    headers += [*header, *_described(found.extract, asked["ip"], asked["origin"])]
    raw = check_request(
        method=asked["method"],
        host=asked["host"] or NOWHERE,
        path=path,
        peer=asked["ip"],
        headers=joined(headers),
        extensions={name: fact for name, fact in extensions.items() if fact},
        model=asked["model"],
    )

    async def work(session: AdminSession) -> tuple[VerdictView, bytes]:
        request = session.read(raw)
        verdict = await session.verifier.verify(request)
        return view_of(verdict, request), session.write(verdict.decision, request)

    view, response = with_session(invocation, work)
    named = named_kid(pasted.text, prefix)
    if not (header or carrier):
        return _tell(invocation, view, named)
    sent = describe_request(raw, header_of(used), pasted.text)
    done = describe_response(response, path)
    return _tell(invocation, view, named, (sent, done))


def _tell(
    invocation: Invocation,
    view: VerdictView,
    named: str,
    exchange: tuple[dict[str, Any], dict[str, Any]] | None = None,
) -> int:
    """Print the verdict on a key, and the exchange with Envoy. Return the exit code.

    named: the kid that the text names, or empty. It is told if the text is no whole key.
    """
    kid = named if view.reason is Reason.MALFORMED else ""
    view = view.naming(kid) if kid else view
    document, lines = as_document(view, kid), as_lines(view)
    if exchange is not None:
        sent, done = exchange
        document |= {"envoy": sent, **done}
        lines[-1:-1] = [f"{label:<12}  {text}" for label, text in in_lines(sent, done)]
    invocation.answer(document, "\n".join(lines))
    return DENIED if view.reason else ALLOWED


def _carrier_for(extract: Extract, pasted: str) -> str:
    """Return the carrier that the pasted text names, else a header of the settings.

    The named one counts if the settings have it or its header is `authorization`. Else: the first
    header of the settings without a scheme, else their first header.
    """
    if pasted and (pasted in extract.headers or header_of(pasted) == "authorization"):
        return pasted
    carriers = extract.headers
    return next((name for name in carriers if name.endswith(":")), carriers[0])


def _carried(
    extract: Extract, carrier: str, key: str, path: str
) -> tuple[str, list[tuple[str, str]]]:
    """Return the path and the headers of a request with the key in a carrier.

    For the query, the key is added to the path. Raises BadInput if the settings have no
    extract.query.
    """
    if carrier != IN_QUERY:
        return path, [carried(carrier, key)]
    if not extract.query:
        raise BadInput("--carrier", "query: the settings have no extract.query")
    separator = "&" if "?" in path else "?"
    return f"{path}{separator}{extract.query}={quote(key)}", []


def _described(extract: Extract, ip: str, origin: str) -> list[tuple[str, str]]:
    """Return the headers that stand for the options --ip and --origin; none for empty ones.

    --ip needs no header if extract.client_address is `peer`.
    """
    headers = [("origin", origin)] if origin else []
    if ip and extract.client_address != "peer":
        headers.append((extract.client_address, ip))
    return headers
