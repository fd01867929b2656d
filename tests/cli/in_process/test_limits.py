"""`authz keys limits`: the leases that sidecars hold."""

import struct
import time

from authz.storage import schema
from tests.support.storage import stored

LONG = 60_000  # ms; no lease lives that long, but the machine may be busy


def test_leases_that_are_out(runner):
    """Each lease of the key and of its project has a size, a holder and an end, in both forms."""
    settings = "pools: {projects: {shop: [800000/min]}}"
    (runner.directory / "authz.yaml").write_text(settings)
    config = ("--config", "authz.yaml")
    kid, text = runner.issue("--limit", "900000/min", "--project", "shop", *config)
    seconds, microseconds = runner.valkey.admin.time()
    now = seconds * 10**6 + microseconds
    for account, holders in ((kid, ("one",)), ("project:shop", ("one", "two"))):
        entries = (
            now.to_bytes(7) + (12).to_bytes(5) + struct.pack(">HIB", LONG, 2, 3) + name.encode()
            for name in holders
        )
        runner.valkey.admin.hset(stored.limit(account), schema.LEASES, b"".join(entries))

    document = runner.run("keys", "limits", kid, "--json", *config).document

    assert [row["leased"] for row in document["limits"]] == [24, 48]
    held = document["leases"]["held"]
    until = held[0]["until"]
    assert held == [
        {
            "holder": holder,
            "owner": owner,
            "owner_id": id_,
            "requests": 12,
            "cost": 2,
            "until": until,
        }
        for owner, id_, holder in (
            ("key", kid, "one"),
            ("project", "shop", "one"),
            ("project", "shop", "two"),
        )
    ]
    assert until.startswith(time.strftime("%Y-%m-%dT", time.gmtime((now // 1000 + LONG) / 1000)))
    lines = runner.run("keys", "limits", kid, *config).out.splitlines()
    assert lines[1].split()[-2:] == ["24", "-"]
    assert lines[3] == "each sidecar may take up to 8000 requests in advance, for 599 ms"
    verified = runner.run("keys", "verify", *config, stdin=text).out
    assert "minute 0 of 900000, 24 in advance; project:minute 0 of 800000, 48 in adv" in verified
    assert lines[5].split("  ")[0] == "LEASED BY"
    assert [line.split() for line in lines[6:]] == [
        ["one", "key", "12", "2", until],
        ["one", "project", "12", "2", until],
        ["two", "project", "12", "2", until],
    ]
