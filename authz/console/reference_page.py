"""The reference of an API as one page of HTML, made from its OpenAPI document. No script runs."""

import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PAGE: Final = "/docs"
STYLE: Final = "/docs/style.css"
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none';"
    " base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_CODE: Final = re.compile(r"`([^`]{1,500})`")
_REFERENCE: Final = "#/components/schemas/"

CSS: Final = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --mark: #2563eb; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; background: var(--soft); }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
h3 { margin: 2rem 0 .25rem; overflow-wrap: anywhere; }
h3 code { display: block; font-weight: normal; }
h3 .verb { color: var(--mark); }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid var(--line); padding: .3rem .5rem; text-align: left;
  vertical-align: top; }
td:first-child { white-space: nowrap; }
td:last-child { overflow-wrap: anywhere; }
td p { margin: 0 0 .3rem; }
nav ul { columns: 2; list-style: none; padding: 0; }
a { color: var(--mark); }
@media (max-width: 40rem) {
  nav ul { columns: 1; }
  thead { display: none; }
  tr { display: block; border-top: 1px solid var(--line); padding: .3rem 0; }
  td { display: block; border: 0; padding: 0 0 .1rem; overflow-wrap: anywhere; }
}
"""


def reference_routes(document: Callable[[], Mapping[str, Any]]) -> list[Route]:
    """Return the routes of the page and of its stylesheet. document: OpenAPI 3.1."""

    async def page(_request: Request) -> Response:
        return Response(reference_page(document()), 200, dict(HEADERS), "text/html")

    async def style(_request: Request) -> Response:
        return Response(CSS, 200, dict(HEADERS), "text/css")

    return [Route(PAGE, page), Route(STYLE, style)]


def reference_page(document: Mapping[str, Any]) -> str:
    """Return the page as HTML, with every text escaped. document: OpenAPI 3.1."""
    info = document["info"]
    operations = [
        (verb, path, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    tags = dict.fromkeys(operation["tags"][0] for _, _, operation in operations)
    title = escape(info["title"])
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<link rel="stylesheet" href="{STYLE}"></head><body>',
        f"<h1>{title} {escape(info['version'])}</h1>{_text(info['description'])}",
        '<p>The same as data: <a href="/openapi.json">openapi.json</a></p>',
        "<nav><ul>",
        *(
            f'<li><a href="#{o["operationId"]}">{o["operationId"]}</a></li>'
            for _, _, o in operations
        ),
        "</ul></nav><main>",
    ]
    for tag in tags:
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [_operation(*each) for each in operations if each[2]["tags"][0] == tag]
    parts.append("<h2>Messages</h2>")
    parts += [_schema(name, each) for name, each in document["components"]["schemas"].items()]
    parts.append("</main></body></html>")
    return "\n".join(parts)


def _operation(verb: str, path: str, operation: Mapping[str, Any]) -> str:
    name = operation["operationId"]
    call = f'<span class="verb">{verb.upper()}</span> {escape(path)}'
    parts = [
        f'<section id="{name}"><h3>{name} <code>{call}</code></h3>',
        _text(operation["description"]),
    ]
    rows = [
        (p["name"], f"{p['in']}, {_type(p['schema'])}", p.get("description", ""))
        for p in operation["parameters"]
    ]
    parts.append(_table(("parameter", "in, type", "meaning"), rows))
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_content(operation['requestBody']['content'])}</p>")
    parts.append(f"<p>Response: {_content(operation['responses']['200']['content'])}</p></section>")
    return "".join(parts)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    rows = [
        (each, _type(value), value.get("description", ""))
        for each, value in schema.get("properties", {}).items()
    ]
    head = f'<section id="{escape(name)}"><h3><code>{escape(name)}</code></h3>'
    table = _table(("member", "type", "meaning"), rows)
    return f"{head}{_text(schema.get('description', ''))}{table}</section>"


def _content(content: Mapping[str, Any]) -> str:
    return ", ".join(f"<code>{escape(t)}</code> {_type(c['schema'])}" for t, c in content.items())


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_REFERENCE))
        return f'<a href="#{name}">{name}</a>'
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {_type(schema['additionalProperties'])}"
    return escape(" ".join(filter(None, (schema.get("type", "any"), schema.get("format", "")))))


def _table(heads: Iterable[str], rows: Iterable[tuple[str, str, str]]) -> str:
    """Return a table, or nothing without rows. The second column is HTML already."""
    lines = [
        f"<tr><td><code>{escape(name)}</code></td><td>{kind}</td><td>{_text(text)}</td></tr>"
        for name, kind, text in rows
    ]
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _text(text: str) -> str:
    paragraphs = (_CODE.sub(r"<code>\1</code>", escape(part)) for part in text.split("\n\n"))
    return "".join(f"<p>{part.replace(chr(10), '<br>')}</p>" for part in paragraphs if part.strip())
