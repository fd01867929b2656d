"""The measurement of the hot path still measures."""

from tests.bench import check_hot


def test_both_header_forms_are_measured():
    """A few calls, whatever they take: the figures are for `make bench`.

    The median of a few, for one alone may be a garbage collection.
    """
    found = check_hot.run(repeats=9, number=10)
    assert set(found["forms"]) == {"map", "raw"}
    for form in found["forms"].values():
        assert form["ratio"] > 1
        assert {"parse", "judge", "write", "whole"} <= set(form["microseconds"])
