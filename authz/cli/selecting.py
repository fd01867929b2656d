"""Options that select keys, and their parser."""

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import click

from authz.cli.invocation import with_options
from authz.cli.options import metadata
from authz.cli.times import moment_ms
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.keys.text import ENVIRONMENTS
from authz.core.kinds import Kind
from authz.core.name_patterns import Glob, Search
from authz.core.selector import Selector, State
from authz.core.times import rfc3339
from authz.process.clock import SystemClock

_Command = TypeVar("_Command", bound=Callable[..., Any])

_TIMED: Final = (
    click.option("--created-before", metavar="TIME", help="RFC 3339, or an age such as 90d."),
    click.option(
        "--expires-before", metavar="TIME", help="RFC 3339, or a duration from now such as 7d."
    ),
    click.option(
        "--unused-for",
        metavar="DURATION",
        help="Keys without a use for so long, such as 90d. Needs authz meter.",
    ),
)
_STATED: Final = (
    click.option("--env", "of_env", type=click.Choice(ENVIRONMENTS), help="Keys of this one."),
    click.option(
        "--kind",
        "of_kind",
        type=click.Choice([kind.value for kind in Kind]),
        help="Keys of this kind.",
    ),
    click.option(
        "--status",
        "of_status",
        type=click.Choice([state.value for state in State]),
        multiple=True,
        help="Keys in this state. Repeatable.",
    ),
    *_TIMED,
)
_OPTIONS: Final = (
    click.option("--client", "of_client", metavar="ID", help="Keys of this client."),
    click.option(
        "--project", "of_project", metavar="ID", help="Keys of this project; '' for none."
    ),
    click.option("--tenant", "of_tenant", metavar="ID", help="Keys of this tenant; '' for none."),
    click.option("--plan", "of_plan", metavar="NAME", help="Keys of this plan; '' for none."),
    click.option("--name", "of_name", metavar="GLOB", help="Keys named so, such as 'shop-*'."),
    click.option(
        "--search",
        "of_search",
        metavar="TEXT",
        help="Keys with this part in the name, or in the id of client, project or tenant.",
    ),
    click.option(
        "--metadata",
        "of_metadata",
        metavar="NAME=VALUE",
        multiple=True,
        help="Keys with this note. Repeatable.",
    ),
    *_STATED,
)
_WHERE: Final = click.option(
    "--where",
    metavar="FIELD=VALUE",
    multiple=True,
    help="Without KID: change the keys that fit. client, project, tenant, plan, env, kind, status, "
    "name, search, metadata.NAME, created-before, expires-before or unused-for. Repeatable.",
)
_WHERE_FIELDS: Final = {
    *("client", "project", "tenant", "plan", "env", "kind", "status", "name", "search"),
    *("created-before", "expires-before", "unused-for"),
}


def selector_options(command: _Command) -> _Command:
    """Add the options that select keys. The command gets `selector`, which may be empty.

    The command raises BadInput for a bad value, before it runs.
    """

    @functools.wraps(command)
    def with_selector(*arguments: Any, **options: Any) -> Any:
        given = _taken(options, _OPTIONS)
        return command(*arguments, selector=_selector(given), **options)

    return cast("_Command", with_options(with_selector, _OPTIONS))


def where_options(command: _Command) -> _Command:
    """Add `--where` and the selecting options that do not name a field to be set.

    The command gets `selector`, which may be empty, and `has_where`: whether --where was given.
    """
    added = (_WHERE, *_STATED)

    @functools.wraps(command)
    def with_selector(*arguments: Any, where: tuple[str, ...], **options: Any) -> Any:
        given = _taken(options, _STATED)
        _add_conditions(given, where)
        return command(*arguments, selector=_selector(given), has_where=bool(where), **options)

    return cast("_Command", with_options(with_selector, added))


def described(selector: Selector) -> str:
    """Return the conditions in words: `client acme-web, status active`; empty without any."""
    parts = [
        f"{name} {value}" if value else f"no {name}"
        for name, value in (
            ("client", selector.client_id),
            ("project", selector.project_id),
            ("tenant", selector.tenant_id),
            ("plan", selector.plan),
            ("env", selector.env),
            ("kind", selector.kind),
        )
        if value is not None
    ]
    if selector.states:
        parts.append(f"status {' or '.join(sorted(selector.states))}")
    if selector.name is not None:
        parts.append(f"name {selector.name.text}")
    if selector.search is not None:
        parts.append(f"search {selector.search.text}")
    parts += [f"metadata {name}={value}" for name, value in selector.metadata.items()]
    if selector.created_before is not None:
        parts.append(f"created before {rfc3339(selector.created_before)}")
    if selector.expires_before is not None:
        parts.append(f"expiry before {rfc3339(selector.expires_before)}")
    if selector.revoked_before is not None:
        parts.append(f"revoked before {rfc3339(selector.revoked_before)}")
    if selector.unused_since is not None:
        parts.append(f"unused since {rfc3339(selector.unused_since)}")
    return ", ".join(parts)


def _taken(options: dict[str, Any], added: tuple[Any, ...]) -> dict[str, Any]:
    """Remove the selecting options from `options`. Return their values by name, without `of_`."""
    names = [
        "of_client",
        "of_project",
        "of_tenant",
        "of_plan",
        "of_name",
        "of_search",
        "of_metadata",
    ]
    names = [*(names if added is _OPTIONS else ()), "of_env", "of_kind", "of_status"]
    names += ["created_before", "expires_before", "unused_for"]
    return {name.removeprefix("of_"): options.pop(name) for name in names}


def _add_conditions(given: dict[str, Any], where: tuple[str, ...]) -> None:
    """Add the conditions of --where to `given`, in place.

    Raises BadInput for a text that is no condition, and for a name that is given twice, except
    status and metadata.
    """
    for text in where:
        name, equals, value = text.partition("=")
        key = name.replace("-", "_")
        if not equals or not (name in _WHERE_FIELDS or name.startswith("metadata.")):
            raise BadInput(
                "--where", f"{fields.shown(text)} is no condition, such as plan=free or name='a*'"
            )
        if name.startswith("metadata."):
            given["metadata"] = (
                *given.get("metadata", ()),
                f"{name.removeprefix('metadata.')}={value}",
            )
        elif name == "status":
            given["status"] = (*given["status"], value)
        elif given.get(key) is not None:
            raise BadInput("--where", f"{name} is given twice")
        else:
            given[key] = value


def _selector(given: dict[str, Any]) -> Selector:
    now = SystemClock().wall_ms()
    unused = given["unused_for"]
    name, created = given.get("name"), given["created_before"]
    ends, env = given["expires_before"], given["env"]
    client, search = given.get("client"), given.get("search")
    return Selector(
        client_id=None if client is None else fields.identifier("--client", client),
        project_id=_optional_id("--project", given.get("project")),
        tenant_id=_optional_id("--tenant", given.get("tenant")),
        plan=_optional_id("--plan", given.get("plan")),
        env=None if env is None else fields.environment("--env", env),
        kind=None if given["kind"] is None else _kind(given["kind"]),
        states=frozenset(map(_state, given["status"])),
        name=None if name is None else Glob.parse("--name", name),
        search=None if search is None else Search.parse("--search", search),
        metadata=metadata("--metadata", given.get("metadata", ())),
        created_before=None if created is None else _ago("--created-before", created, now),
        expires_before=None if ends is None else moment_ms("--expires-before", ends, now),
        unused_since=None if unused is None else now - fields.duration_ms("--unused-for", unused),
    )


def _optional_id(field: str, text: str | None) -> str | None:
    return text if not text else fields.identifier(field, text)


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        problem = f"{fields.shown(text)}: one of {', '.join(Kind)}"
        raise BadInput("--kind", problem) from None


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        problem = f"{fields.shown(text)}: one of {', '.join(State)}"
        raise BadInput("--status", problem) from None


def _ago(field: str, text: str, now: int) -> int:
    """Return a time in ms since the epoch: RFC 3339, or a duration before `now`.

    Raises BadInput about `field` for any other text.
    """
    try:
        return now - fields.duration_ms(field, text)
    except BadInput:
        return moment_ms(field, text, now)


def required(selector: Selector, kid: str | None) -> None:
    """Raise UsageError unless either a kid or at least one condition was given."""
    if (kid is None) == selector.is_empty:
        raise click.UsageError(
            "give either KID or conditions such as --client"
            if kid is None
            else "give either KID or conditions, not both"
        )
