"""Every regular expression in authz/, found by walking the code; inputs that are hard for it."""

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from types import SimpleNamespace
from typing import Any

import authz

ROOT = Path(authz.__file__).parent
FUNCTIONS = {
    "compile",
    "match",
    "fullmatch",
    "search",
    "sub",
    "subn",
    "split",
    "findall",
    "finditer",
}
METHODS = FUNCTIONS - {"compile"}
REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}
LONG = 16  # repeats up to this many times are a constant
FLAGS = re.IGNORECASE | re.DOTALL | re.MULTILINE | re.VERBOSE | re.ASCII

# Local names in a pattern, by the file: values that stand for all.
LOCALS: Mapping[str, Mapping[str, Any]] = {
    "rpc/check/credential.py": {"query": "api_key", "names": "bearer|token"},
    "core/keys/keyring.py": {
        "prefix": "ak",
        "environments": "live_|test_",
        "every": ("ak", "old", "pk"),
        "self": SimpleNamespace(
            _reserved=("ak_live_", "ak_test_"), _starts=("ak_",), prefixes=("ak", "old")
        ),
    },
    "core/keys/pasted.py": {"shape": "ak_(?:live|test)_[0-9A-Za-z]{16}", "prefix": "ak"},
    "core/keys/scanning.py": {
        "prefix": "ak",
        "imported_prefixes": ("sk-", "cust_"),
        "declared": "sk-|cust_",
        "one": "ak",
        "pattern": r"(?<![0-9A-Za-z_-])sk-[0-9A-Za-z_-]{5,253}",
    },
    "storage/store_url.py": {"start": "(rediss?|unix)://"},
}
# Patterns that are somebody's argument: where they come from is looked at instead.
FORWARDED = {("settings/values.py", "pattern"), ("proxy/matching.py", "regex")}
# Patterns that are handed to others, who use them in this way.
HANDED_ON = {"cli/verify.py": {"fullmatch"}, "core/keys/pasted.py": {"fullmatch"}}
FORWARDING = {"_shape"}  # functions whose first argument is a pattern


@dataclass(frozen=True)
class Found:
    """One pattern, where it stands, and how it is used; or why it cannot be evaluated."""

    place: str
    pattern: re.Pattern[Any] | None
    problem: str = ""
    methods: frozenset[str] = frozenset()


def every_pattern() -> Iterator[Found]:
    """Find all patterns of authz/."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
    uses = _uses(trees.values())
    for path, tree in trees.items():
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("rpc/pb/"):
            continue
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (function := _function(node)):
                yield from _found(name, node, function, parents, uses)


def _function(node: ast.Call) -> str:
    """The function of `re` that is called, or one that forwards to it; else empty."""
    called = node.func
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        return called.attr if called.value.id == "re" and called.attr in FUNCTIONS else ""
    if isinstance(called, ast.Name) and called.id in FORWARDING:
        return "fullmatch"
    return ""


def _found(
    file: str,
    node: ast.Call,
    function: str,
    parents: Mapping[ast.AST, ast.AST],
    uses: Mapping[str, set[str]],
) -> Iterator[Found]:
    text = ast.unparse(node.args[0])
    if (file, text) in FORWARDED:
        return
    module = importlib.import_module(f"authz.{file.removesuffix('.py').replace('/', '.')}")
    namespace = vars(module) | LOCALS.get(file, {})
    place = f"{file}:{node.lineno}"
    try:
        values = [_value(part, namespace) for part in _arguments(node, function)]
    except (NameError, AttributeError) as cause:
        yield Found(place, None, f"give {cause.name} a value in LOCALS")
        return
    flags = next((value for value in values[1:] if isinstance(value, re.RegexFlag)), 0)
    methods = {function} if function != "compile" else _methods(node, parents, uses)
    methods = methods or HANDED_ON.get(file, {"search"})
    yield Found(place, re.compile(values[0], flags), methods=frozenset(methods))


def _value(node: ast.expr, namespace: Mapping[str, Any]) -> Any:
    return eval(ast.unparse(node), dict(namespace))  # noqa: S307  our own code


def _arguments(node: ast.Call, function: str) -> list[ast.expr]:
    """The pattern, and the flags of `re.compile`; others' flags come last or by name."""
    rest = node.args[1:] if function == "compile" else node.args[2:]
    named = [keyword.value for keyword in node.keywords if keyword.arg == "flags"]
    flags = [part for part in (*rest, *named) if ast.unparse(part).startswith("re.")]
    return [node.args[0], *flags]


def _methods(
    node: ast.AST, parents: Mapping[ast.AST, ast.AST], uses: Mapping[str, set[str]]
) -> set[str]:
    """How a compiled pattern is used; empty if nobody is seen to use it."""
    parent = parents[node]
    while isinstance(parent, ast.IfExp):
        parent = parents[parent]
    if isinstance(parent, ast.Attribute):
        return {parent.attr}
    targets: list[ast.expr] = []
    if isinstance(parent, ast.Assign):
        targets = parent.targets
    elif isinstance(parent, ast.AnnAssign):
        targets = [parent.target]
    names = {t.id if isinstance(t, ast.Name) else getattr(t, "attr", "") for t in targets}
    return set().union(*(uses.get(name, set()) for name in names))


def _uses(trees: Iterable[ast.AST]) -> dict[str, set[str]]:
    """The methods of patterns that are used, by the name of the variable."""
    uses: dict[str, set[str]] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            uses.setdefault(name, set()).add(node.attr)
    return uses


def hard_inputs(pattern: re.Pattern[Any]) -> list[tuple[str, str, str]]:
    """Beginnings, texts to repeat and ends: near misses for each loop of the pattern."""
    tree = parser.parse(pattern.pattern, pattern.flags & FLAGS)
    loops = dict.fromkeys(_loops(tree, ""))
    alphabet = dict.fromkeys(_characters(tree))
    texts = dict.fromkeys([*(body for _, body in loops), *list(alphabet)[:8], " ", ","])
    begins = dict.fromkeys(["", *(before for before, _ in loops), *(b for _, b in loops)])
    # Most loops stop at one of these; those of a negated set at what it leaves out.
    ends = dict.fromkeys(["", "\0", "!", *list(_left_out(tree))[:2]])
    return [(b, t, e) for b in list(begins)[:6] for t in list(texts)[:12] if t for e in ends]


def _loops(tree: Iterable[Any], before: str) -> Iterator[tuple[str, str]]:
    """Each long loop: a text that leads to it, and one that its body takes."""
    for code, value in tree:
        if code in REPEATS:
            _, most, body = value
            yield from _loops(body, before)
            if most > LONG:
                yield before, _sample(body)
        elif code is op.BRANCH:
            for branch in value[1]:
                yield from _loops(branch, before)
        elif code is op.SUBPATTERN:
            yield from _loops(value[-1], before)
        elif code in {op.ASSERT, op.ASSERT_NOT}:
            yield from _loops(value[1], before)
        before += _sample([(code, value)])


def _sample(tree: Iterable[Any]) -> str:
    """A text that a part of a pattern takes; the shortest but one for loops."""
    found = ""
    for code, value in tree:
        if code is op.LITERAL:
            found += chr(value)
        elif code in {op.NOT_LITERAL, op.ANY}:
            found += "~" if value != ord("~") else "a"
        elif code is op.IN:
            found += _member(value)
        elif code is op.BRANCH:
            found += _sample(value[1][0])
        elif code is op.SUBPATTERN:
            found += _sample(value[-1])
        elif code in REPEATS:
            found += _sample(value[2]) * max(1, value[0])
        elif code not in {op.AT, op.ASSERT, op.ASSERT_NOT, op.GROUPREF}:
            raise AssertionError(f"{code} is not understood here")
    return found


def _member(items: list[Any]) -> str:
    """A character of a set."""
    for character in ["a", "0", "A", *"/.:,;-_ =&%", *map(chr, range(256))]:
        if _is_in(character, items):
            return character
    raise AssertionError(f"no sample of {items}")


def _is_in(character: str, items: list[Any]) -> bool:
    negated = items[0][0] is op.NEGATE
    found = any(_matches(ord(character), code, value) for code, value in items[negated:])
    return found is not negated


def _matches(point: int, code: Any, value: Any) -> bool:
    if code is op.LITERAL:
        return bool(point == value)
    if code is op.RANGE:
        return bool(value[0] <= point <= value[1])
    kinds = {op.CATEGORY_DIGIT: r"\d", op.CATEGORY_WORD: r"\w", op.CATEGORY_SPACE: r"\s"}
    kinds |= {
        op.CATEGORY_NOT_DIGIT: r"\D",
        op.CATEGORY_NOT_WORD: r"\W",
        op.CATEGORY_NOT_SPACE: r"\S",
    }
    return re.match(kinds[value], chr(point), re.ASCII) is not None


def _left_out(tree: Iterable[Any]) -> Iterator[str]:
    """Characters that stop a loop over a negated set."""
    for code, value in tree:
        if code is op.NOT_LITERAL:
            yield chr(value)
        elif code is op.IN and value[0][0] is op.NEGATE:
            yield from (chr(point) for kind, point in value[1:] if kind is op.LITERAL)
        elif code in REPEATS:
            yield from _left_out(value[2])
        elif code is op.SUBPATTERN:
            yield from _left_out(value[-1])


def _characters(tree: Iterable[Any]) -> Iterator[str]:
    """Characters that the pattern speaks of."""
    for code, value in tree:
        if code is op.LITERAL:
            yield chr(value)
        elif code is op.IN:
            yield _member(value)
        elif code in REPEATS:
            yield from _characters(value[2])
        elif code is op.BRANCH:
            for branch in value[1]:
                yield from _characters(branch)
        elif code is op.SUBPATTERN:
            yield from _characters(value[-1])
