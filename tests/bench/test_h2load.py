"""The log of h2load is read as h2load writes it."""

import pytest

from tests.bench.h2load import _told


def test_percentiles_of_a_log(tmp_path):
    """Of all calls, by the nearest rank."""
    log = tmp_path / "log"
    log.write_text("".join(f"1700000000000000\t200\t{number}\n" for number in range(1000, 0, -1)))
    assert _told(log, 2) == {"calls a second": 500, "p50": 500, "p99": 990, "p99.9": 999}


def test_a_call_that_failed_is_no_figure(tmp_path):
    """A server that refuses fast is not a fast server."""
    log = tmp_path / "log"
    log.write_text("1700000000000000\t200\t10\n1700000000000001\t-1\t10\n")
    with pytest.raises(SystemExit, match="status -1"):
        _told(log, 1)
