"""The text of files of keys: what `authz keys export` prints, and what `authz apply` updates."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from authz.cli.declared import FORMAT, SCOPES, Loader, read_text, record_of
from authz.cli.times import duration
from authz.core.declared_changes import AsOf
from authz.core.errors import Unavailable
from authz.core.records import KeyRecord, Status
from authz.core.selector import Selector
from authz.core.times import rfc3339
from authz.settings.includes import SECTIONS

HEADER: Final = """\
# Keys of authz, without their secrets. `authz diff -f FILE` compares, `authz apply -f FILE`
# applies. version and as_of tell the age of the file: leave them to authz. A new key has a ref and
# no kid.
"""


class _Dumper(yaml.SafeDumper):
    """Writes lists of texts on one line, everything else in blocks."""


def _list_node(dumper: _Dumper, found: list[Any]) -> yaml.Node:
    is_flow = all(isinstance(one, str | int) for one in found)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", found, flow_style=is_flow)


_Dumper.add_representer(list, _list_node)


def render(
    records: Sequence[KeyRecord],
    scope: Selector,
    as_of: AsOf,
    refs: Mapping[str, str],
    *,
    with_versions: bool = True,
) -> str:
    """Return the text of a file of these keys, sorted by client, name and kid: it is stable.

    scope: its client, project, tenant and env become that of the file. as_of: the last change of
    the store that the records include. refs: names of entries of the file, by kid. with_versions:
    write `as_of`, and each record's version.
    """
    ordered = sorted(records, key=lambda one: (one.client_id, one.name, one.kid))
    document: dict[str, Any] = {"authz": FORMAT}
    if given := {name: text for name in SCOPES if (text := _scope_text(scope, name)) is not None}:
        document["scope"] = given
    if with_versions:
        document["as_of"] = list(as_of) if isinstance(as_of, tuple) else as_of
    document["keys"] = [
        _entry(one, refs.get(one.kid, ""), with_version=with_versions) for one in ordered
    ]
    return HEADER + yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def update(
    path: str,
    before: str,
    kids: Mapping[int, str],
    records: Mapping[str, KeyRecord],
    as_of: AsOf,
) -> None:
    """Bring a file up to date, and keep its comments, its order, and SECTIONS byte for byte.

    Lines that all end with CR LF do so afterwards, too.
    It gets the kids of new keys, the versions, as_of, and the values that were changed in the store
    alone. before: the text that was applied; if the file has another one by now, Unavailable is
    raised. kids: by place in the file, from 0. records: by kid. Raises Unavailable if the file
    cannot be updated.
    """
    rt = YAML()
    rt.preserve_quotes = True
    rt.width = 4096
    is_crlf = before.count("\r\n") == before.count("\n") > 0
    text = before.replace("\r\n", "\n") if is_crlf else before
    document = rt.load(text)
    has_versions = "as_of" in document
    for place, entry in enumerate(document["keys"]):
        if place in kids:
            entry.insert(0, "kid", kids[place])
        record = records.get(entry.get("kid") or "")
        if record is not None:
            _refresh(entry, record, is_versioned=has_versions)
    if has_versions:
        document["as_of"] = as_of
        if isinstance(as_of, tuple):
            document["as_of"] = numbers = CommentedSeq(as_of)
            numbers.fa.set_flow_style()
    out = io.StringIO()
    rt.dump(document, out)
    after = _with_sections_of(path, text, out.getvalue())
    file = Path(path)
    try:
        if read_text(path) != before:
            raise Unavailable(f"{path}: was changed meanwhile; its versions were not updated")
        draft = file.with_name(f".{file.name[:100]}.new")
        draft.write_bytes((after.replace("\n", "\r\n") if is_crlf else after).encode())
        draft.chmod(file.stat().st_mode & 0o777)
        draft.replace(file)
    except OSError as cause:
        problem = f"{path}: {cause.strerror}; the keys were applied, the file was not updated"
        raise Unavailable(problem) from None


def _refresh(entry: dict[str, Any], record: KeyRecord, *, is_versioned: bool) -> None:
    """Set the values of an entry that differ from the record, and its version.

    Values that the record lacks are removed. If neither the file nor the entry has a version, the
    entry stays unchanged: git orders the changes.
    """
    if is_versioned or "version" in entry:
        entry["version"] = record.version
    elif entry.keys() >= {"kid"}:
        return  # git orders the changes of a file without versions
    now = _entry(record, "", with_version=False)
    then = _entry(record_of(entry, record.kid), "", with_version=False)
    for name in now.keys() | then.keys():
        if now.get(name) == then.get(name):
            continue
        if name in now:
            entry[name] = now[name]
        else:
            entry.pop(name, None)


def _with_sections_of(path: str, before: str, after: str) -> str:
    """Return `after` with each of SECTIONS, and the comment above it, as it is in `before`.

    Raises Unavailable if the parts of the file cannot be told apart.
    """
    ours, theirs = _parts(after), _parts(before)
    if not theirs.keys() & set(SECTIONS):
        return after
    found = "".join(
        theirs[name] if name in SECTIONS or not name else part for name, part in ours.items()
    )
    try:
        is_same = list(ours) == list(theirs) and _load(found) == _load(after)
    except yaml.YAMLError:
        is_same = False
    if not is_same:
        problem = f"{path}: its versions were not updated: write each section on lines of its own"
        raise Unavailable(problem)
    return found


def _load(text: str) -> object:
    return yaml.load(text, Loader)  # noqa: S506  a safe loader


def _parts(text: str) -> dict[str, str]:
    """Return the text of each member by its name, with the comment lines above it.

    The text before the first is the member with the empty name.
    """
    starts, depth, is_name = {"": 0}, 0, True
    for event in yaml.parse(text, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth != 1 or not isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            continue
        if isinstance(event, yaml.CollectionStartEvent):  # of the whole
            continue
        if is_name and isinstance(event, yaml.ScalarEvent):
            starts[str(event.value)] = _above(
                text, event.start_mark.index if event.start_mark else 0
            )
        is_name = not is_name
    ends = [*list(starts.values())[1:], len(text)]
    return {name: text[start:end] for (name, start), end in zip(starts.items(), ends, strict=True)}


def _above(text: str, start: int) -> int:
    """Return the start of the comment and empty lines above a line; `start` if there are none."""
    while start > 1 and text[start - 1] == "\n":
        line = text.rfind("\n", 0, start - 1) + 1
        if text[line : start - 1].strip("\r") and text[line] != "#":
            break
        start = line
    return start


def _entry(record: KeyRecord, ref: str, *, with_version: bool) -> dict[str, Any]:
    every: dict[str, Any] = {
        "ref": ref,
        "kid": record.kid,
        "version": record.version if with_version else None,
        "client": record.client_id,
        "name": record.name,
        "env": record.env,
        "public": record.public or None,
        "status": record.status.value if record.status is not Status.ACTIVE else "",
        "project": record.project_id,
        "tenant": record.tenant_id,
        "plan": record.plan,
        "limits": list(map(str, record.limits)),
        "on_outage": record.on_outage.value if record.on_outage else None,
        "scopes": sorted(record.scopes),
        "not_before": None if record.not_before is None else rfc3339(record.not_before),
        "expires_at": None if record.expires_at is None else rfc3339(record.expires_at),
        "cidrs": list(map(str, record.allowed_cidrs)),
        "hosts": list(record.allowed_hosts),
        "origins": list(record.allowed_origins),
        "metadata": dict(sorted(record.metadata.items())),
        "outage_grace": None if record.outage_grace is None else duration(record.outage_grace),
    }
    return {name: value for name, value in every.items() if value not in ("", None, [], {})}


def _scope_text(scope: Selector, name: str) -> str | None:
    found: str | None = getattr(scope, name if name == "env" else f"{name}_id")
    return found
