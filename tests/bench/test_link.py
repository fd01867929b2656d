"""The measurement of the link still measures."""

from tests.bench.link import run


def test_both_clients_do_everything():
    """A moment of each, whatever comes of it: the figures are for `make bench`."""
    figures = run(rounds=1, seconds=0.05, notices=500)["figures"]
    assert len(figures) == 6
    for each in figures.values():
        assert set(each) == {"the link", "redis-py"}
        assert min(each.values()) > 0
