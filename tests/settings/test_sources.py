"""Sources of settings: invalid files and variables, and the merge of sources."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.settings import sources
from authz.settings.model import load
from tests.support.settings import refusal, written

TREES = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3),
).filter(lambda tree: isinstance(tree, dict))


def leaves(tree: Any, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Yield every value of a tree with its path."""
    if not isinstance(tree, dict):
        return {at: tree}
    return {
        path: leaf
        for name, part in tree.items()
        for path, leaf in leaves(part, (*at, name)).items()
    }


@given(upper=TREES, lower=TREES)
def test_merging_keeps_all_of_the_upper_and_what_it_does_not_touch_of_the_lower(
    upper: dict[str, Any], lower: dict[str, Any]
) -> None:
    """The merge has all values of the upper tree, and all others of the lower."""
    merged = leaves(sources.merged(upper, lower))
    above = leaves(upper)
    assert above.items() <= merged.items()
    touched = {path[:length] for path in above for length in range(len(path) + 1)}
    for path, leaf in leaves(lower).items():
        overridden = path in touched or any(path[:length] in above for length in range(len(path)))
        assert overridden or merged[path] == leaf


def test_the_environment_gives_lists_and_sections_as_json() -> None:
    """A list is one value, and a deeper variable wins over its section."""
    settings = load(
        None,
        {},
        {
            "AUTHZ_EXTRACT__HEADERS": '["authorization: Bearer"]',
            "AUTHZ_CACHE": '{"ttl": "7s", "max_entries": 500}',
            "AUTHZ_CACHE__TTL": "8s",
            "AUTHZ_CHECK__LISTEN": "[::1]:9191",
        },
    )
    assert settings.extract.headers == ("authorization:bearer",)
    assert (settings.cache.ttl, settings.cache.max_entries) == (8.0, 500)
    assert settings.check.listen == Address("::1", 9191)


def test_the_address_for_commands_is_no_setting() -> None:
    """AUTHZ_ADMIN is a section as JSON, or the address of the API that commands use."""
    section = {"AUTHZ_ADMIN": '{"calls_per_second": 7}', "AUTHZ_ADMIN__LISTEN": "127.0.0.1:1"}
    settings = load(None, {}, section)
    assert (settings.admin.calls_per_second, settings.admin.listen.port) == (7, 1)
    address = {
        "AUTHZ_ADMIN": "https://admin.example.com",
        "AUTHZ_ADMIN_TOKEN_FILE": "token",
        **{f"AUTHZ_ADMIN_{name}": "file.pem" for name in ("CA", "CERT", "KEY")},
    }
    assert load(None, {}, address) == load(None, {}, {})


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "check:\nredis:\n", "\ufeff"])
def test_an_empty_file_and_an_empty_section_change_nothing(tmp_path: Path, content: str) -> None:
    """A file with only comments is valid."""
    file = written(tmp_path, content)
    assert load(file, {}, {}).check == load(None, {}, {}).check


def test_what_kubernetes_puts_into_every_pod_is_ignored() -> None:
    """Variables for a Service named authz or authz-admin are no settings."""
    environ = {
        "AUTHZ_SERVICE_HOST": "10.0.0.1",
        "AUTHZ_SERVICE_PORT": "9191",
        "AUTHZ_SERVICE_PORT_GRPC": "9191",
        "AUTHZ_PORT": "tcp://10.0.0.1:9191",
        "AUTHZ_PORT_9191_TCP": "tcp://10.0.0.1:9191",
        "AUTHZ_PORT_9191_TCP_PROTO": "tcp",
        "AUTHZ_PORT_9191_TCP_ADDR": "10.0.0.1",
        "AUTHZ_ADMIN_SERVICE_HOST": "10.0.0.2",
        "AUTHZ_ADMIN_SERVICE_PORT_HTTP": "80",
        "AUTHZ_ADMIN_PORT_80_UDP_PORT": "80",
        "AUTHZ_CONFIG": "elsewhere.yaml",
        "AUTHZ_ACTOR": "somebody",
        "PATH": "/bin",
    }
    assert load(None, {}, environ) == load(None, {}, {})
    assert "no such setting" in refusal(environ={"AUTHZ_CHECK__PORT": "1"})
    assert "no such setting" in refusal(environ={"AUTHZ_PORTS": "1"})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xfe\xfa", "it is not YAML"),
        (b"\x00\x01\x02", "it is not YAML"),
        ("check: [", "line 1: expected the node content"),
        ("check:\n\tlisten: 1:1", "line 2: found character"),
        ("a: &a [x]\nb: *a\n", "line 2: aliases are not read here"),
        ("a: &a {b: *a}", "line 1: aliases are not read here"),
        ("check: {}\nredis: {}\ncheck: {}\n", "line 3: 'check' stands here twice"),
        ("check: {listen: 'a:1', listen: 'b:1'}", "'listen' stands here twice"),
        ("1: x", "line 1: a name is text"),
        ("check: {true: 1}", "line 1: a name is text"),
        ("check: {? [a] : 1}", "line 1: a name is text"),
        ("check: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("redis: {username: 2026-99-99}", "it is not YAML"),
        ("a: 1\n---\nb: 2", "but found another document"),
        ("[" * 50_000, "it is not YAML"),
        ("- check", "settings are sections, such as `check:`"),
        ("check", "settings are sections, such as `check:`"),
        ("#" * (1 << 20) + "\n", "at most 1048576 bytes"),
    ],
)
def test_a_file_that_is_not_settings_is_refused(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    """Binary files, YAML bombs, repeated names and huge files give one line with the file name."""
    file = written(tmp_path, content)
    said = refusal(file)
    assert said.startswith(f"--config: {file}")
    assert expected in said


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("missing.yaml", "No such file or directory"),
        (".", "Is a directory"),
        ("/dev/zero", "at most 1048576 bytes"),
        ("a\x00b", "not a file name"),
    ],
)
def test_a_path_that_is_not_a_settings_file_is_refused(path: str, expected: str) -> None:
    """An unreadable or endless file is refused by its name."""
    with pytest.raises(BadInput, match=expected):
        load(Path(path), {}, {})
