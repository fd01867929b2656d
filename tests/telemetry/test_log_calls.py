"""No log call in the source passes a value that may contain a key."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "authz"
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# What the sources call things that a client wrote, or that hold key text.
UNSAFE = {
    *("raw", "request", "credential", "presented", "minted", "key_text", "header", "headers"),
    *("path", "host", "query", "carrier", "traceparent", "message", "call", "fields", "block"),
    *("data", "text", "what", "reply", "entry", "digest", "secret"),
}


class Call:
    """One log call in a source file."""

    def __init__(self, file: Path, node: ast.Call) -> None:
        self.node = node
        self.place = f"{file.name}:{node.lineno}"

    def trouble(self) -> str:
        """Return the fault of the call, or an empty text."""
        node = self.node
        template, *rest = node.args or [None]
        if not isinstance(template, ast.Constant) or not isinstance(template.value, str):
            return "its template is not a constant: what is put together before is not bounded"
        for part in (*rest, *(keyword.value for keyword in node.keywords)):
            for name in names(part):
                if name in UNSAFE:
                    return f"it is given `{name}`"
        return ""


def names(part: ast.AST) -> Iterator[str]:
    """Return the variables and attributes of an expression, without module names."""
    modules = {
        id(node.func.value)
        for node in ast.walk(part)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "fields.shown"
    }
    for node in ast.walk(part):
        if isinstance(node, ast.Name) and id(node) not in modules:
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def is_logger(node: ast.AST) -> bool:
    """Return whether the expression is `log`, `logging`, or `getLogger(...)`."""
    if isinstance(node, ast.Call):
        node = node.func
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in {"log", "_log", "logger", "_logger", "logging", "getLogger"}


def calls(source: str, file: Path = Path("made_up.py")) -> list[Call]:
    """Return the log calls of a source file."""
    return [
        Call(file, node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in METHODS
        and is_logger(node.func.value)
    ]


CALLS = [call for file in sorted(PACKAGE.rglob("*.py")) for call in calls(file.read_text(), file)]


def test_the_calls_are_found() -> None:
    """The search finds as many calls as the sources contain, in several files."""
    shown = sum(
        line.strip()
        .removeprefix("self.")
        .startswith(("log.", "_log.", "logger.", "logging.warn", "logging.err"))
        for file in PACKAGE.rglob("*.py")
        for line in file.read_text().splitlines()
    )
    assert len(CALLS) >= 10
    assert shown == len(CALLS)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
def test_no_call_is_given_what_a_client_wrote(call: Call) -> None:
    """Each call has a constant template and only values that cannot contain a key."""
    assert call.trouble() == ""


@pytest.mark.parametrize(
    "source",
    [
        "log.info(f'{request}')",
        "log.info('%s', request)",
        "log.info('%s', shown(request.header('x', '')))",
        "log.warning('a' + path)",
        "logging.getLogger('x').error('%s', [part for part in self.raw])",
        "log.error('%s', cause, extra={'kid': presented.digest()})",
        "log.exception(message)",
    ],
)
def test_a_call_that_is_given_too_much_is_noticed(source: str) -> None:
    """A call with a forbidden value is found."""
    (call,) = calls(source)
    assert call.trouble()


def test_nothing_is_printed_past_the_log() -> None:
    """Only commands print or write to stderr."""
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] != "cli"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name | ast.Attribute)
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and node.attr == "print_exc")
        or ast.unparse(node) == "sys.stdout"
    ]
    assert not found
    assert logging.getLogger("authz").propagate
