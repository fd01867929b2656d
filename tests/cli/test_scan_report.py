"""The report of `authz scan`, as other programs read it."""

import json

from authz.cli.scan_report import Report


def test_sarif_of_a_place_that_was_not_searched():
    """A name that is not UTF-8 leaves the document one that every reader of JSON takes."""
    report = Report(str)
    report.problem("a\udcff\n", "Permission denied")
    (run,) = json.loads(json.dumps(report.sarif()))["runs"]
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert told["message"]["text"].encode() == rb"a\udcff\n: Permission denied"
