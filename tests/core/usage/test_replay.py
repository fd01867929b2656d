"""Replay of a file: what counts, and what is refused."""

import json

import pytest

from authz.core.errors import BadInput
from authz.core.times import rfc3339
from authz.core.usage.anomalies.features import Feature, Gap
from authz.core.usage.anomalies.replay import Replay

KID = "A" * 16


def replayed(*rows):
    """Return the result of a file with these objects."""
    replay = Replay()
    for number, row in enumerate(rows, 1):
        replay.add(number, json.dumps(row))
    return replay.judged()


def hour(number, **members):
    """Return a line about an hour, counted from a start."""
    return {"kid": KID, "hour": rfc3339(number * 3_600_000).replace(".000", ""), **members}


def test_an_export():
    """The lines of an export add up by hour, and an hour without a line had no requests."""
    rows = [hour(at, route="a", unit="ok", quantity=60) for at in range(400) if at != 390]
    rows += [hour(at, route="b", unit="denied", quantity=40) for at in range(400) if at != 390]
    rows += [hour(400, unit="ok", quantity=3000), hour(400, unit="ok", quantity=-1000)]
    found = replayed(*rows)
    assert (found.keys, found.hours) == (1, 401)
    assert [(one.kid, one.hour) for one in found.anomalies] == [(KID, 400)]
    (reason,) = found.anomalies[0].reasons
    assert (reason.feature, reason.observed) == (Feature.RATE, 2000)
    assert found.gaps[Feature.NETWORKS, Gap.NO_FACTS] == 400


def test_networks_and_agents():
    """Lines with networks and families are judged by them, too."""
    usual = {"requests": 50, "networks": ["9.9.9.0/24"], "agents": ["curl"]}
    rows = [hour(at, **usual) for at in range(400)]
    rows.append(hour(400, requests=50, networks=["9.9.9.0/24", "8.8.8.0/24"], agents=["curl"]))
    (one,) = replayed(*rows).anomalies
    assert [reason.feature for reason in one.reasons] == [Feature.NETWORKS]


@pytest.mark.parametrize(
    "line",
    [
        *("", "x", "[]", "1", "[" * 5000, '{"kid": 1}', '{"kid": "../../../etc/pas"}'),
        *(json.dumps(hour(1, **bad)) for bad in ({"requests": "1"}, {"requests": True})),
        *(json.dumps(hour(1, **bad)) for bad in ({"requests": 1.5}, {"ok": 2**60})),
        *(json.dumps(hour(1, **bad)) for bad in ({"networks": "x"}, {"agents": [1]})),
        *(json.dumps(hour(1, **bad)) for bad in ({"networks": [""]}, {"agents": ["x" * 65]})),
        *(json.dumps(hour(1, **bad)) for bad in ({"unit": "ok"}, {"networks": ["x"] * 1001})),
        json.dumps({"kid": KID, "hour": "2026-11-29T14:30:00Z"}),
        json.dumps({"kid": KID, "hour": "2026-13-29T14:00:00Z"}),
        json.dumps({"kid": KID, "hour": "1969-12-31T23:00:00Z"}),
        json.dumps({"kid": KID, "hour": 7}),
        f'{{"kid": "{KID}", "kid": "{KID}"}}',
    ],
)
def test_other_lines(line):
    """A line that is no usage is refused with its number."""
    with pytest.raises(BadInput, match="line 7"):
        Replay().add(7, line)


def test_hours_far_apart():
    """A key whose hours are more than ten years apart is refused: each hour between is judged."""
    replay = Replay()
    replay.add(1, json.dumps(hour(1, requests=1)))
    replay.add(2, json.dumps(hour(90_000, requests=1)))
    with pytest.raises(BadInput, match=KID):
        replay.judged()
