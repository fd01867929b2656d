"""`authz envoy`: repairs of an Envoy configuration, and the parts for one's own."""

import pytest
import yaml

from tests.support.proxy.faults import ORIGINAL

SPOILT = ORIGINAL.read_text().replace("failure_mode_allow: false", "failure_mode_allow: true")


def test_patch_shows_the_difference_and_writes_nothing(runner):
    """Without --write the file stays as it is."""
    file = runner.directory / "envoy.yaml"
    file.write_text(SPOILT)
    done = runner.run("envoy", "patch", "envoy.yaml")
    assert (done.code, done.err) == (0, "")
    changed = [line for line in done.out.splitlines() if line.startswith(("- ", "+ "))]
    assert [" ".join(line.split()[:3]) for line in changed] == [
        "- failure_mode_allow: true",
        "+ failure_mode_allow: false",
    ]
    assert file.read_text() == SPOILT


def test_patch_writes_once(runner):
    """--write makes the file what the doctor asks for; a second run changes nothing."""
    file = runner.directory / "envoy.yaml"
    file.write_text(SPOILT)
    file.chmod(0o640)
    assert runner.run("envoy", "patch", "envoy.yaml", "--write").code == 0
    assert file.read_text() == ORIGINAL.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(runner.directory.glob("tmp*")) == []
    document = runner.run("envoy", "patch", "envoy.yaml", "--write", "--json").document
    assert document == {"changed": False, "written": False, "diff": "", "remaining": []}
    assert runner.run("doctor", "--envoy", "envoy.yaml").code == 0


def test_patch_lists_problems_that_need_a_decision(runner):
    """An exempt prefix remains, is listed, and fails the command."""
    exempt = "- match: { path: /healthz }"
    text = ORIGINAL.read_text().replace(exempt, "- match: { prefix: /healthz }")
    text = text.replace("direct_response: { status: 200 }", "route: { cluster: backend }")
    (runner.directory / "envoy.yaml").write_text(text)
    done = runner.run("envoy", "patch", "envoy.yaml")
    assert done.code == 1
    first, second = done.out.splitlines()
    assert first == "nothing to change"
    assert second.startswith("fail  enabled")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "no ext_authz filter"),
        (b"\xff\xfe", "no configuration"),
        (b'{"static_resources": {}}', "no ext_authz filter"),
        (ORIGINAL.read_text().replace("http_filters", "httpFilters").encode(), "snake_case"),
    ],
)
def test_patch_refuses_a_file_that_it_cannot_edit(runner, content, reason):
    """The error is one line that names the file."""
    (runner.directory / "envoy.yaml").write_bytes(content)
    done = runner.run("envoy", "patch", "envoy.yaml")
    assert (done.code, done.out) == (2, "")
    assert "envoy.yaml" in done.err
    assert reason in done.err


def test_patch_of_a_missing_file(runner):
    """A missing file is one line."""
    done = runner.run("envoy", "patch", "missing.yaml")
    assert done.code == 2
    assert "missing.yaml: No such file" in done.err


def test_snippet_is_for_the_sidecars_that_are_named(runner):
    """Addresses and sockets become endpoints; the default is check.listen."""
    own = yaml.safe_load(runner.run("envoy", "snippet").out)
    assert "9191" in str(own["clusters"][0]["load_assignment"])
    two = ["--unix", "/run/authz/1/check.sock", "--unix", "/run/authz/2/check.sock"]
    cluster, meters = yaml.safe_load(runner.run("envoy", "snippet", *two).out)["clusters"]
    (group,) = cluster["load_assignment"]["endpoints"]
    assert len(group["lb_endpoints"]) == 2
    assert "retry_policy" in str(cluster)
    assert "9195" in str(meters["load_assignment"])
    named = runner.run("envoy", "snippet", "--meter", "10.0.0.7:4317", "--meter", "10.0.0.8:4317")
    meters = yaml.safe_load(named.out)["clusters"][1]
    assert len(meters["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2


def test_snippet_names_each_endpoint_once(runner):
    """The ports of the processes of two addresses may overlap, and an address may be repeated."""
    given = ["--address", "10.0.0.7:9191", "--address", "10.0.0.7:9192", "--processes", "2"]
    meters = ["--meter", "10.0.0.8:4317"] * 2
    clusters = yaml.safe_load(runner.run("envoy", "snippet", *given, *meters).out)["clusters"]
    ports = [
        [
            each["endpoint"]["address"]["socket_address"]["port_value"]
            for each in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        ]
        for cluster in clusters
    ]
    assert ports == [[9191, 9192, 9193], [4317]]


def test_snippet_refuses_processes_that_serve_would_refuse(runner):
    """By default the second process would have the port of ops.listen; a named address has room."""
    done = runner.run("envoy", "snippet", "--processes", "2")
    assert (done.code, done.out) == (2, "")
    assert "9192 would be that of process 1, and is ops.listen" in done.err
    named = runner.run("envoy", "snippet", "--address", "127.0.0.1:9391", "--processes", "2")
    assert "9392" in named.out


@pytest.mark.parametrize(
    "arguments", [["--address", "nowhere"], ["--unix", ""], ["--meter", "nowhere"]]
)
def test_snippet_refuses_an_address_that_is_none(runner, arguments):
    """A bad address is one line that shows a good one."""
    done = runner.run("envoy", "snippet", *arguments)
    assert done.code == 2
    assert "such as" in done.err
