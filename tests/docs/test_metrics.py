"""deploy/metrics.md says what there is to measure."""

from tests.support.docs.metrics import FILE, document


def test_the_list_of_metrics_is_the_catalogue() -> None:
    """Who changes the catalogue writes it anew: `python -m tests.docs.metrics`."""
    assert FILE.read_text() == document()
