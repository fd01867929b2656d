"""File modes of peppers: refused, warned about, or accepted."""

from pathlib import Path

import pytest

from authz.core.errors import BadInput
from authz.settings.model import load
from authz.wiring.administration import keyring
from authz.wiring.pepper_files import exposed_peppers
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving


def peppers(file: Path, mode: int):
    """Return settings with a pepper of this mode."""
    file.write_text("p" * 64)
    file.chmod(mode)
    return load(flags={"keys": {"peppers": [{"file": str(file)}]}}, environ={})


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o777])
def test_a_pepper_that_everybody_may_replace_is_refused(tmp_path: Path, mode: int) -> None:
    """The error names the file and the remedy."""
    with pytest.raises(BadInput, match=r"may replace it; chmod 600 /"):
        keyring(peppers(tmp_path / "pepper", mode))


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o400, ""),
        (0o600, ""),
        (0o440, ""),
        (0o640, ""),
        (0o644, "every user of this machine may read it (mode 0644)"),
        (0o604, "every user of this machine may read it (mode 0604)"),
        (0o660, "its group of this machine may write it (mode 0660)"),
    ],
)
def test_an_exposed_pepper_has_a_line_with_its_remedy(
    tmp_path: Path, mode: int, words: str
) -> None:
    """A file for its owner, or readable by its group as in Kubernetes, has no line."""
    file = tmp_path / "pepper"
    settings = peppers(file, mode)
    keyring(settings)
    found = exposed_peppers(settings)
    assert len(found) == bool(words)
    for line in found:
        assert words in line
        assert line.endswith(f"; chmod 600 {file}")


async def test_a_sidecar_warns_at_its_start(tmp_path: Path, valkey: Valkey) -> None:
    """The log of a sidecar has the line."""
    with Serving(tmp_path, valkey) as process:
        (tmp_path / "pepper").chmod(0o644)
        await eventually(lambda: "serving Check" in process.log.read_text())
    assert "every user of this machine may read it" in process.log.read_text()
