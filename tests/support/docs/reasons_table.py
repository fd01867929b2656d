"""The table of reasons: status, code and text of each refusal."""

from authz.core.decision import Reason
from authz.rpc.check.reason_table import TABLE

HEAD = "| reason | status | code | the caller reads |\n| --- | --- | --- | --- |\n"


def reasons() -> str:
    """Return one row for each reason, as the logs name it and as its caller sees it."""
    rows = []
    for reason in Reason:
        row = TABLE[reason]
        rows.append(f"| `{reason.value}` | {row.status} | `{row.code}` | {row.detail} |")
    return HEAD + "\n".join(rows)
