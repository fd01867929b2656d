"""Periods of the calendar: one follows the other, whatever the clocks of a zone do."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.limits import periods
from authz.core.limits.periods import DAY, HOUR, MINUTE, SECOND, Calendar

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# Zones whose clocks do odd things: half an hour, at midnight, a minute past it, a day left out.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/St_Johns",
    "America/Toronto",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
)

FROM, TO = datetime(1975, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)
moments = st.integers(int(FROM.timestamp() * 1000), int(TO.timestamp() * 1000))
calendars = st.builds(
    Calendar, st.none() | st.integers(1, periods.MAX_ANCHOR), st.sampled_from(ZONES)
)


def ms(text, zone="UTC"):
    """A local time as milliseconds since the epoch."""
    at = datetime.fromisoformat(text).replace(tzinfo=periods._zone(zone))
    return int(at.timestamp() * 1000)


def noon(day, zone):
    """Noon of a day, or None where the zone left that day out."""
    at = datetime.combine(day, time(12), periods._zone(zone))
    return int(at.timestamp() * 1000) if at.astimezone(UTC).astimezone(at.tzinfo) == at else None


def changes_of_clocks(zone):
    """Every moment, to the minute, at which the zone's offset changed from 1975 on."""
    found = []
    at, end = FROM, datetime(2030, 1, 1, tzinfo=UTC)
    info = periods._zone(zone)
    while at < end:
        later = at + timedelta(days=7)
        if at.astimezone(info).utcoffset() != later.astimezone(info).utcoffset():
            low, high = at, later
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) // 2
                same = middle.astimezone(info).utcoffset() == low.astimezone(info).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(int(high.timestamp() * 1000))
        at = later
    return found


@given(calendars, moments)
def test_a_moment_lies_in_its_period_and_nothing_lies_between_two(calendar, now):
    """A period holds its own moments, and the next begins where it ends."""
    start, end = calendar.bounds(now)

    assert start <= now < end
    assert calendar.bounds(start) == calendar.bounds(end - 1) == (start, end)
    assert calendar.bounds(end)[0] == end
    assert calendar.bounds(start - 1)[1] == start


@pytest.mark.parametrize("zone", ZONES)
def test_no_gap_where_clocks_change(zone):
    """Around every change of its clocks a zone's periods still follow each other."""
    calendar = Calendar(None, zone)
    for change in changes_of_clocks(zone):
        at, end = change - DAY_MS, change + DAY_MS
        while at < end:
            start, after = calendar.bounds(at)

            assert start <= at < after
            assert calendar.bounds(after)[0] == after
            assert after - start > 20 * HOUR_MS
            for offset in range(0, after - at, HOUR_MS // 2):
                assert calendar.bounds(at + offset) == (start, after)
            at = after


@given(calendars, st.dates(date(1975, 1, 1), date(2060, 1, 1)))
def test_another_period_begins_between_two_noons_where_the_calendar_says_so(calendar, today):
    """Noon of a day and of the day after lie in one period, unless that day begins another."""
    tomorrow = today + timedelta(days=1)
    noons = [noon(today, calendar.zone), noon(tomorrow, calendar.zone)]
    assume(None not in noons)

    another = calendar.bounds(noons[0]) != calendar.bounds(noons[1])

    assert another is (calendar.anchor in {None, tomorrow.day})


@pytest.mark.parametrize(
    ("text", "zone", "now", "start", "end"),
    [
        ("calendar-day", "UTC", "2026-11-22T13:00", "2026-11-22", "2026-11-23"),
        ("month", "UTC", "2026-02-28T23:59:59", "2026-02-01", "2026-03-01"),
        ("month@15", "UTC", "2026-01-14T23:59:59", "2025-12-15", "2026-01-15"),
        ("month@15", "UTC", "2026-01-15", "2026-01-15", "2026-02-15"),
        ("month@28", "UTC", "2024-02-29", "2024-02-28", "2024-03-28"),
        ("calendar-day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29", "2026-03-30"),
        ("month@1", "Pacific/Apia", "2011-12-31T12:00", "2011-12-01", "2012-01-01"),
        ("week", "UTC", "2026-11-22T23:59:59", "2026-11-16", "2026-11-23"),  # a Sunday
        ("week", "UTC", "2026-11-23", "2026-11-23", "2026-11-30"),
        ("week@sunday", "UTC", "2026-11-22", "2026-11-22", "2026-11-29"),
        ("week@wed", "UTC", "2026-01-01", "2025-12-31", "2026-01-07"),
        ("week", "Europe/Berlin", "2026-10-25T12:00", "2026-10-19", "2026-10-26"),
        ("year", "UTC", "2024-12-31T23:59:59", "2024-01-01", "2025-01-01"),
        ("year@04-01", "UTC", "2026-03-31T12:00", "2025-04-01", "2026-04-01"),
        ("year@04-01", "UTC", "2026-04-01", "2026-04-01", "2027-04-01"),
        ("year@02-28", "UTC", "2024-02-29", "2024-02-28", "2025-02-28"),
    ],
)
def test_bounds(text, zone, now, start, end):
    """The bounds of days, and of weeks, months and years that begin on a given day."""
    calendar = periods.parse("per", text, zone)

    assert calendar.bounds(ms(now, zone)) == (ms(start, zone), ms(end, zone))


def test_a_day_of_23_hours_and_one_of_25():
    """A day on which clocks change has 23 or 25 hours."""
    berlin = Calendar(None, "Europe/Berlin")
    spring = berlin.bounds(ms("2026-03-29T12:00", "Europe/Berlin"))
    autumn = berlin.bounds(ms("2026-10-25T12:00", "Europe/Berlin"))

    assert spring[1] - spring[0] == 23 * HOUR_MS
    assert autumn[1] - autumn[0] == 25 * HOUR_MS


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("s", SECOND),
        ("min", MINUTE),
        ("h", HOUR),
        ("d", DAY),
        ("calendar-day", Calendar()),
        ("month", Calendar(1)),
        ("month@1", Calendar(1)),
        ("month@28", Calendar(28)),
        ("week", Calendar(0, every="week")),
        ("week@monday", Calendar(0, every="week")),
        ("week@sun", Calendar(6, every="week")),
        ("year", Calendar(101, every="year")),
        ("year@12-28", Calendar(1228, every="year")),
    ],
)
def test_parse(text, period):
    """Every period is parsed from its text."""
    assert periods.parse("per", text) == period


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fortnight",
        "week@",
        "week@8",
        "week@Sunday",
        "year@4-1",
        "year@",
        "S",
        "sec",
        "m",
        "month@",
        "month@1a",
        "month@ 1",
        "month@\u0661",
        "day",
    ],
)
def test_no_such_period(text):
    """An unknown period is refused with a list of the known ones."""
    with pytest.raises(
        BadInput, match="is not a period; use one of s, min, h, d, calendar-day, week, month, year"
    ):
        periods.parse("per", text)


@pytest.mark.parametrize("anchor", [0, 29, 30, 31, 32, 999])
def test_no_month_begins_on_a_day_that_some_lack(anchor):
    """A month begins on a day that every month has."""
    with pytest.raises(BadInput, match="every month has, 1 to 28"):
        periods.parse("per", f"month@{anchor}")
    if anchor < 100:
        with pytest.raises(BadInput, match="every month has, 1 to 28"):
            periods.parse("per", f"year@02-{anchor:02}")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../UTC", "utc", "Europe", "europe/berlin", "/"])
def test_no_such_zone(zone):
    """A time zone that tzdata does not have, or spells otherwise, is refused."""
    with pytest.raises(BadInput, match="is not a time zone"):
        periods.parse("per", "month", zone)


def test_a_sliding_window_has_no_zone():
    """A sliding window with a time zone is refused."""
    with pytest.raises(BadInput, match="goes with calendar-day, week, month or year"):
        periods.parse("per", "s", "Europe/Berlin")
