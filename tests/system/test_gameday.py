"""A game day in short: no request of the holder fails, and the leaked keys end."""

from tests.support import hasty
from tests.system import gameday


def test_a_game_day(tmp_path):
    """The holder moves to its new secret without one denied request."""
    day = gameday.run(tmp_path, hasty.PROGRAM)
    assert list(day.times)[-1] == "post-mortem written"
    assert (day.denied, day.requests > 10) == (0, True)
    for text in ("rotate by", "revoke by", "delivered to machine", "Times since the leak"):
        assert text in day.post_mortem
