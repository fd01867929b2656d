"""Settings of Sentinel and of TLS to the store."""

import pytest

from authz.core.errors import BadInput
from authz.settings import model
from authz.wiring import administration


def read(tmp_path, text):
    """Return the settings of a file with this `redis` section."""
    file = tmp_path / "authz.yaml"
    file.write_text(f"redis: {text}\n")
    return model.load(file, environ={})


def test_sentinel(tmp_path):
    """The Sentinels and the service name give the endpoint."""
    found = read(tmp_path, "{sentinel: {hosts: ['10.0.0.1:26379', '[::1]:26380'], service: main}}")
    assert str(administration.endpoint(found)) == "main behind Sentinel 10.0.0.1:26379, [::1]:26380"
    assert administration.endpoint(found).has_replicas


def test_tls(tmp_path):
    """Relative certificate paths are relative to the settings file."""
    found = read(tmp_path, "{url: 'rediss://store:6380', tls: {ca: ca.pem, cert: c.pem, key: k}}")
    files = administration.endpoint(found).tls
    assert (files.ca, files.cert) == (tmp_path / "ca.pem", tmp_path / "c.pem")
    assert files.key == tmp_path / "k"
    assert administration.endpoint(read(tmp_path, "{url: 'rediss://store:6380'}")).tls.ca is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{sentinel: {hosts: [], service: main}}", r"redis\.sentinel\.hosts.*at least one"),
        ("{sentinel: {hosts: [nowhere], service: main}}", r"redis\.sentinel\.hosts.*host:port"),
        ("{sentinel: {hosts: ['unix:s'], service: main}}", r"redis\.sentinel\.hosts.*26379"),
        ("{sentinel: {hosts: ['a:1'], service: 'a b'}}", r"redis\.sentinel\.service.*mymaster"),
        ("{sentinel: {hosts: ['a:1']}}", r"redis\.sentinel\.service"),
        ("{tls: {cert: c.pem}}", "go together"),
        ("{tls: {ca: ca.pem}}", r"redis\.tls.*rediss://"),
        ("{url: 'unix:///s', sentinel: {hosts: ['a:1'], service: main}}", r"redis\.sentinel"),
    ],
)
def test_refused(tmp_path, text, problem):
    """Contradictory store settings are refused by name."""
    with pytest.raises(BadInput, match=problem):
        administration.endpoint(read(tmp_path, text))
