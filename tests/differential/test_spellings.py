"""No spelling of a request reaches a handler without what its rule asks for.

Real frameworks behind a real Envoy, 15,000 made-up requests. `make differential` sends 50,000, and
more with N=1000000.
"""

import pytest

from authz.core import routes
from authz.core.paths import Path, read_path
from tests.differential import backends
from tests.differential.fuzz import run

REQUESTS = 15_000
ENOUGH = 3_000  # to find any of the old holes

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def frameworks() -> None:
    """Build the frameworks once, or say what they need."""
    if needed := backends.lacking() or backends.build():
        pytest.skip(needed)


def test_no_spelling_gets_around_a_rule() -> None:
    """No handler runs without its scope, cost and environment, and `keys verify` reads alike."""
    found = run(REQUESTS, seed=1)

    assert not found.bypasses, str(found)
    assert not found.disagreements, str(found)
    for handler in ("generate", "admin", "tenant", "cafe"):
        ran = sum(n for name, n in found.handled.items() if name.endswith(f" {handler}"))
        assert ran > REQUESTS / 1000, str(found)
    assert len({name.rpartition(" ")[0] for name in found.handled}) == 8, str(found)


def test_rules_that_do_not_decode_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge sees what it is there to see."""

    def undecoded(path: str) -> Path | None:
        read = read_path(path)
        return read and Path(read.written, read.written)

    monkeypatch.setattr(routes, "read_path", undecoded)
    assert run(ENOUGH, seed=1).bypasses
