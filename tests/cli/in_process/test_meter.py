"""`authz meter`: options that are refused before anything starts."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--cursor", "usage.cursor"], "--cursor: only with --tail FILE"),
        (["--tail", ""], "--tail: '' is not a path, such as /var/log/envoy/usage.log"),
        (["--listen", "nowhere"], "meter.listen"),
    ],
)
def test_a_bad_option_is_one_line(runner, arguments, problem):
    """The error names the option."""
    done = runner.run("meter", *arguments)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err
    assert len(done.err.splitlines()) == 1
