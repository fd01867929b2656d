"""Where these commands run."""

from pathlib import Path

import pytest

from tests.cli.desk.running import Desk
from tests.real import Valkey


@pytest.fixture
def desk(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A directory with a pepper, and an initialised store."""
    return Desk(tmp_path, valkey, monkeypatch)
