"""outage_grace: what a person may ask for, and what a new key keeps of it."""

import pytest

from authz.cli.times import duration
from authz.core import fields
from authz.core.changes import Author
from authz.core.errors import BadInput
from authz.core.new_keys import KeySpec, issue
from tests.support.fakes import NOW, make_keyring


@pytest.mark.parametrize(
    ("text", "ms"), [("0", 0), ("1500ms", 1500), ("30s", 30_000), ("1d", 86_400_000)]
)
def test_a_grace_is_a_duration_of_at_most_a_day(text, ms):
    """A grace from 0 to one day is accepted, and is shown as it was written."""
    assert fields.outage_grace_ms("--outage-grace", text) == ms
    assert duration(ms) == text


@pytest.mark.parametrize("text", ["", "-1s", "25h", "86401s", "forever", "1e3s"])
def test_another_grace_is_refused(text):
    """Another grace is refused with the name of the option."""
    with pytest.raises(BadInput, match="--outage-grace: "):
        fields.outage_grace_ms("--outage-grace", text)


@pytest.mark.parametrize("grace", [None, 0, 60_000])
def test_a_key_is_issued_with_its_grace(grace):
    """A key gets its grace; None differs from 0 and leaves the length to each sidecar."""
    spec = KeySpec(client_id="acme", env="live", life_ms=None, outage_grace=grace)

    change = issue(spec, make_keyring().mint("live"), Author("id", "me"), NOW)

    assert change.record.outage_grace == grace
