"""The `events` section."""

import pytest

from authz.core.errors import BadInput
from authz.settings.model import load

WEBHOOK = "kind: webhook, url: 'https://siem.example.com/in', secret_file: s"


def events(tmp_path, text):
    """Return the section."""
    file = tmp_path / "authz.yaml"
    file.write_text(f"events: {text}")
    return load(file, {}, {}).events


def test_sinks(tmp_path):
    """A sink gets the types that its patterns name; without patterns it gets all."""
    found = events(
        tmp_path, f"{{sinks: {{a: {{{WEBHOOK}}}, b: {{kind: log, types: [x.y.*, z]}}}}}}"
    )
    assert found.sinks["a"].secret_file == tmp_path / "s"
    assert found.sinks["a"].wants("anything")
    wanted = [kind for kind in ("x.y.", "x.y.z", "x.yz", "z", "zz") if found.sinks["b"].wants(kind)]
    assert wanted == ["x.y.", "x.y.z", "z"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{sinks: {a: {kind: webhook, secret_file: s}}}", "needs url"),
        ("{sinks: {a: {kind: log, url: 'https://a.example.com'}}}", "log has none"),
        ("{sinks: {a: {kind: webhook, url: 'https://a.example.com'}}}", "needs secret_file"),
        ("{sinks: {a: {kind: slack, url: 'https://a.b', secret_file: s}}}", "no other kind"),
        ("{sinks: {a: {kind: slack, url: 'http://a.example.com'}}}", "https is needed"),
        ("{sinks: {A: {kind: log}}}", "such as siem"),
        ("{sinks: {a: {kind: log, types: []}}}", "a list of at least one"),
        ("{sinks: {a: {kind: log, types: ['*.x']}}}", "a type of event"),
        ("{sinks: {a: {kind: mail}}}", "webhook"),
        ("{allowed_networks: [10.0.0.1/8]}", "10.0.0.0/8"),
    ],
)
def test_refused(tmp_path, text, problem):
    """A sink that cannot work is refused, with the reason."""
    with pytest.raises(BadInput) as refused:
        events(tmp_path, text)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://u:s3cret@a.b/in", "https://a.b/in?token=s3cret", "http://a.b/s3cret", "s3cret"]
)
def test_a_refused_address_is_not_shown(tmp_path, url):
    """The address of a webhook is a secret, and an error goes into a log."""
    with pytest.raises(BadInput, match=r"events\.sinks\.a\.url") as refused:
        events(tmp_path, f"{{sinks: {{a: {{kind: slack, url: '{url}'}}}}}}")
    assert "s3cret" not in str(refused.value)
