"""`authz admin token` and `authz admin whoami`: credentials of the administration API."""

import re
import sys
from getpass import getpass
from typing import Any, Final

import click

from authz.cli.actor import actor
from authz.cli.administration import stored_settings, with_editor
from authz.cli.invocation import Invocation, common
from authz.cli.keyfile import key_file, out_option
from authz.cli.options import note_option
from authz.cli.outcome import show_new_key
from authz.cli.session_loop import run_interruptible
from authz.core import fields
from authz.core.access import (
    API_HOST,
    Binding,
    Caller,
    Credentials,
    Refusal,
    RefusalKind,
    bindings_of_key,
)
from authz.core.bearer_token import MAX_TOKEN
from authz.core.errors import BadInput, Unavailable
from authz.core.new_keys import KeySpec
from authz.core.roles import Role
from authz.core.times import rfc3339
from authz.flows.by import By
from authz.flows.command_ports import KeyEditor
from authz.flows.lifecycle import Changed
from authz.wiring.access import local_authentication

DAY_MS: Final = 86_400_000
MAX_LIFE_MS: Final = 365 * DAY_MS
CLIENT: Final = "authz-admin"


@click.command()
@click.option(
    "--role",
    "roles",
    type=click.Choice([role.value for role in Role]),
    multiple=True,
    required=True,
    help="Repeatable.",
)
@click.option("--tenant", metavar="ID", help="Only within this tenant.")
@click.option("--project", metavar="ID", help="Only within this project.")
@click.option("--name", metavar="TEXT", default="", help="A name for people, such as deploy-bot.")
@click.option(
    "--cidr", "cidrs", metavar="CIDR", multiple=True, help="Only from these addresses. Repeatable."
)
@click.option(
    "--expires-in",
    metavar="DURATION",
    default="30d",
    show_default=True,
    help="Lifetime, at most 365d.",
)
@out_option
@note_option
@common
@click.pass_obj
def token(invocation: Invocation, /, note: str, out: str | None, **asked: Any) -> None:
    """Issue a key for the admin API and print it, once.

    It is a key with the scopes of the roles, bound to the host admin.authz.invalid, so that it is
    good for nothing else. A machine sends it as `Authorization: Bearer KEY`. Revoke and rotate it
    as any key.

    \b
    Examples:
      authz admin token --role issuer --tenant acme --name deploy-bot
      authz admin token --role auditor --expires-in 90d --out auditor.key
      authz admin token --role admin --cidr 10.0.0.0/8 --json | jq -r .key
    """
    spec = _spec(**asked)

    async def work(editor: KeyEditor) -> Changed:
        return await editor.issue(spec, By(actor(), note))

    with key_file(out) as file:
        result = with_editor(invocation, work)
        record = result.record
        bindings = bindings_of_key(record.scopes, record.tenant_id, record.project_id)
        ends = rfc3339(record.expires_at or 0)
        what = f"issued {record.kid}: {_roles(bindings)}, until {ends}"
        show_new_key(invocation, result, what, file)


def _spec(
    *,
    roles: tuple[str, ...],
    tenant: str | None,
    project: str | None,
    name: str,
    cidrs: tuple[str, ...],
    expires_in: str,
) -> KeySpec:
    life = fields.duration_ms("--expires-in", expires_in)
    if not 0 < life <= MAX_LIFE_MS:
        raise BadInput("--expires-in", f"{fields.shown(expires_in)}: a lifetime of at most 365d")
    return KeySpec(
        client_id=CLIENT,
        env="live",
        name=fields.line("--name", name),
        tenant_id=fields.identifier("--tenant", tenant) if tenant else "",
        project_id=fields.identifier("--project", project) if project else "",
        scopes=frozenset(Role(role).scope for role in roles),
        life_ms=life,
        allowed_cidrs=fields.networks("--cidr", cidrs),
        allowed_hosts=(API_HOST,),
    )


_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[!-~]{1,2000}", re.ASCII)


@click.command()
@click.option("--certificate", metavar="URI", help="A URI of a client certificate instead.")
@click.option("--address", metavar="IP", default="", help="The client's address, for --cidr.")
@common
@click.pass_obj
def whoami(invocation: Invocation, certificate: str | None, address: str) -> None:
    """Tell who a credential of the admin API is, and its roles.

    The credential is read from stdin: a token or a key. It is judged here, with the settings and
    the store of this machine. So the reason of a refusal is shown, which a caller never sees. Exits
    with 1 if the credential is refused.

    \b
    Examples:
      authz admin whoami < token.txt
      authz admin whoami --certificate spiffe://cluster.local/ns/ops/sa/deploy
    """
    if certificate is not None:
        if not _URI.fullmatch(certificate):
            problem = f"{fields.shown(certificate)} is not a URI, such as spiffe://a.example/ns/ops"
            raise BadInput("--certificate", problem)
        credentials = Credentials(certificate_uris=(certificate,), peer=address)
    else:
        credentials = Credentials((f"Bearer {_credential()}",), peer=address)
    settings = stored_settings(invocation)

    async def run() -> Caller | Refusal:
        async with local_authentication(settings) as authentication:
            return await authentication.authenticate(credentials)

    found = run_interruptible(run())
    if isinstance(found, Caller):
        invocation.answer(_document(found), _text(found))
    elif found.kind is RefusalKind.UNAVAILABLE:
        raise Unavailable(f"the credential cannot be judged now: {found.why}")
    else:
        invocation.answer({"caller": None, "refused": found.why}, f"refused: {found.why}")
        raise click.exceptions.Exit(1)


def _credential() -> str:
    """Return the text on stdin without blanks around it; on a terminal, ask for it without echo.

    Its form is not checked. Raises BadInput if stdin is closed, empty or not text.
    """
    if sys.stdin is None:
        raise BadInput("stdin", "is closed; give a token or a key, as in: ... < token.txt")
    try:
        if sys.stdin.isatty():
            text = getpass("token or key (not shown): ")
        else:
            text = sys.stdin.read(MAX_TOKEN + 100)
    except (UnicodeError, OSError):
        raise BadInput("stdin", "is not text; give a token or a key") from None
    text = text.strip(" \t\r\n")
    if not text:
        raise BadInput("stdin", "is empty; give a token or a key, as in: ... < token.txt")
    return text


def _document(caller: Caller) -> dict[str, Any]:
    return {
        "caller": caller.actor,
        "kind": caller.kind.value,
        "kid": caller.kid or None,
        "roles": [
            {
                "role": one.role.value,
                "tenants": sorted(one.tenants),
                "projects": sorted(one.projects),
            }
            for one in caller.bindings
        ],
        "own_key": sorted(action.value for action in caller.own_actions),
    }


def _text(caller: Caller) -> str:
    own = ", ".join(sorted(action.value for action in caller.own_actions)) or "nothing"
    lines = [f"caller   {caller.actor}", f"roles    {_roles(caller.bindings)}"]
    return "\n".join([*lines, *([f"own key  {own}"] if caller.kid else [])])


def _roles(bindings: tuple[Binding, ...]) -> str:
    return ", ".join(map(_role, bindings)) or "none"


def _role(binding: Binding) -> str:
    places = [
        *(f"tenant {one}" for one in sorted(binding.tenants)),
        *(f"project {one}" for one in sorted(binding.projects)),
    ]
    return f"{binding.role.value} {'within ' + ', '.join(places) if places else 'of everything'}"
