"""`authz tokens issue` and `authz tokens inspect`."""

import sys
from getpass import getpass
from typing import Any, Final

import click

from authz.cli.administration import with_tokens
from authz.cli.invocation import Invocation, common
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.decision import Reason
from authz.core.errors import BadInput, Unavailable
from authz.core.times import rfc3339
from authz.core.tokens import text as token_text
from authz.core.tokens.text import MAX_TOKEN
from authz.flows.tokens.exchange import Ask, ExchangeError, Refused
from authz.flows.tokens.inspection import Inspected
from authz.flows.tokens.issuing import Issued, Wish

_REFUSALS: Final = {
    ExchangeError.BAD_SUBJECT: "the key is not accepted; `authz keys verify` says why",
    ExchangeError.BAD_SCOPE: "the key does not have one of these scopes",
    ExchangeError.BAD_AUDIENCE: "tokens.audiences does not have this audience",
}


@click.command()
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="Repeatable. Default: all.")
@click.option("--audience", default="", metavar="NAME", help="Default: the first of the settings.")
@click.option("--lifetime", metavar="DURATION", help="At most 15m. Default: tokens.lifetime.")
@click.option("--origin", default="", metavar="URL", help="For a key with allowed origins.")
@common
@click.pass_obj
def issue(
    invocation: Invocation,
    scopes: tuple[str, ...],
    audience: str,
    lifetime: str | None,
    origin: str,
) -> None:
    """Exchange a key for a token and print it, once.

    The key is read from stdin. The command does the same as the token endpoint, and takes nothing
    from the limits of the key.

    \b
    Examples:
      authz tokens issue < key.txt
      authz tokens issue --scope models:read --lifetime 60s --json < key.txt | jq -r .access_token
    """
    wish = Wish(
        fields.scopes("--scope", scopes) if scopes else None,
        audience,
        _seconds(lifetime) if lifetime else None,
    )
    ask = Ask(_credential("a key"), wish, origin)
    found = with_tokens(invocation, lambda session: session.exchange.exchange(ask))
    if isinstance(found, Refused):
        if found.error is ExchangeError.UNAVAILABLE:
            raise Unavailable(found.why)
        raise click.ClickException(_REFUSALS[found.error])
    invocation.answer(_issued(found), found.token)


@click.command()
@common
@click.pass_obj
def inspect(invocation: Invocation) -> None:
    """Show the claims of a token, and whether a sidecar accepts it now.

    The token is read from stdin. Exits with 1 if it is not accepted. The state of its key is shown,
    too; routes, addresses and limits are not judged.

    \b
    Examples:
      authz tokens inspect < token.txt
      authz tokens inspect --json < token.txt | jq .claims
    """
    token = _credential("a token")
    found = with_tokens(invocation, lambda session: session.inspection.inspect(token))
    document = {
        "accepted": found.reason is None,
        "reason": found.reason,
        "claims": _claims(token),
        "key": _key(found) if found.reason is None else None,
    }
    invocation.answer(document, _text(document))
    if found.reason is not None:
        raise click.exceptions.Exit(1)


def _seconds(lifetime: str) -> int:
    found = fields.duration_ms("--lifetime", lifetime) // 1000
    if found < 1:
        raise BadInput("--lifetime", f"{fields.shown(lifetime)}: at least 1s")
    return found


def _credential(what: str) -> str:
    """Return the text on stdin without blanks around it; on a terminal, ask for it without echo.

    Raises BadInput if stdin is closed, empty or not text.
    """
    if sys.stdin is None:
        raise BadInput("stdin", f"is closed; give {what}, as in: ... < file.txt")
    try:
        is_terminal = sys.stdin.isatty()
        text = getpass(f"{what} (not shown): ") if is_terminal else sys.stdin.read(2 * MAX_TOKEN)
    except (UnicodeError, OSError):
        raise BadInput("stdin", f"is not text; give {what}") from None
    text = text.strip(" \t\r\n")
    if not text:
        raise BadInput("stdin", f"is empty; give {what}, as in: ... < file.txt")
    return text


def _issued(found: Issued) -> dict[str, Any]:
    return {
        "access_token": found.token,
        "expires_in": found.expires_in,
        "scope": " ".join(sorted(found.claims.scopes)),
        "id": found.claims.token_id,
    }


def _claims(token: str) -> dict[str, Any] | None:
    """Return the claims of a text in the form of our tokens, proven or not; else None."""
    parts = token_text.split(token)
    claims = parts and token_text.parse_claims(parts.claims)
    return claims.members() if claims else None


def _key(found: Inspected) -> dict[str, Any]:
    record = found.record
    if record is None:
        return {"kid": found.kid, "status": "deleted"}
    return {
        "kid": record.kid,
        "status": record.status.value,
        "expires_at": rfc3339(record.expires_at) if record.expires_at is not None else None,
        "has_secret": found.has_secret,
    }


def _text(document: dict[str, Any]) -> str:
    reason: Reason | None = document["reason"]
    lines = ["accepted" if reason is None else f"not accepted: {reason.value}"]
    for name, value in (document["claims"] or {}).items():
        shown = rfc3339(value * 1000) if isinstance(value, int) else escaped(value)
        lines.append(f"{name:10} {shown}")
    if key := document["key"]:
        lines.append(f"key        {key['status']}")
    return "\n".join(lines)
