"""AlarmWatch: raises alarms about keys that opted in, and carries out the rules.

Rules:
1. An alarm is a row of the audit trail, from which an event follows. It comes once a day, and at
   once for a feature that the last one did not have.
2. A rule changes a key before the row is written. If the process ends in between, the next look
   writes the row.
3. A look that would change more keys than `per_hour` changes none of them: rather the detector,
   or something that all keys share, is wrong. The rows say `held`, and a person decides.
"""

import logging
from collections.abc import Sequence
from typing import Final

from authz.core.admin_ports import RecordReader
from authz.core.changes import Author, Refused
from authz.core.errors import NotFound
from authz.core.limits.throttle import Throttle
from authz.core.ports import Clock
from authz.core.records import KeyRecord, Status
from authz.core.trail.alarms import Alarm
from authz.core.usage.anomalies.policy import AlarmPolicy, Done, Rule, RuleAction
from authz.core.usage.anomalies.ports import AnomalyReader
from authz.core.usage.anomalies.ranking import Ranked, ranking
from authz.core.usage.question import HOUR_MS
from authz.flows.automatic_rotation import KeyRotation
from authz.flows.hourly_places import HourlyPlaces
from authz.flows.lifecycle import Lifecycle
from authz.flows.notifications.alarm_notes import AlarmNotes
from authz.flows.repeated_looks import RepeatedLooks

LOOK_BACK: Final = 24  # hours whose anomalies are looked at together
CHUNK: Final = 200  # records that are read at once

log = logging.getLogger("authz.anomalies")
ALARMS: Final = RepeatedLooks(60.0, "alarms about anomalies come later", log)

_Wanted = tuple[Alarm, KeyRecord, Rule | None]


class AlarmWatch:
    """Looks at the anomalies of the last day. done: how many alarms were raised, by result."""

    def __init__(
        self,
        reader: AnomalyReader,
        records: RecordReader,
        lifecycle: Lifecycle,
        *,
        ended: HourlyPlaces,
        rotation: KeyRotation,
        policy: AlarmPolicy,
        notes: AlarmNotes,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._records = records
        self._lifecycle = lifecycle
        self._ended = ended
        self._rotation = rotation
        self._policy = policy
        self._clock = clock
        self._notes = notes
        self.done: dict[Done, int] = dict.fromkeys(Done, 0)

    async def look(self) -> bool:
        """Raise the alarms that are new. Return False if not all of them could be noted.

        Another process noted one, or the trail is too busy. Raises Unavailable if the store fails.
        The next call goes on with the alarms that are not noted.
        """
        latest = await self._reader.latest()
        if latest is None:
            return True
        hours = range(latest.hour - LOOK_BACK + 1, latest.hour + 1)
        ranked = ranking(await self._reader.anomalies(hours))
        if not ranked:
            return True
        await self._notes.read()
        wanted = await self._wanted(ranked)
        have_place = await self._take_places(wanted)
        is_whole = True
        for alarm, record, rule in wanted:
            done = await self._act(record, rule, have_place)
            name = rule.name if rule else ""
            if not await self._notes.add(Alarm(alarm.kid, alarm.hour, alarm.reasons, done, name)):
                is_whole = False
                continue
            self.done[done] += 1
            features = ", ".join(alarm.reasons)
            log.warning("key %s is unusual (%s): %s", alarm.kid, features, done.value)
        return is_whole

    async def _wanted(self, ranked: Sequence[Ranked]) -> list[_Wanted]:
        """Return the alarms that are new, of keys that the settings name."""
        found: list[_Wanted] = []
        for start in range(0, len(ranked), CHUNK):
            part = ranked[start : start + CHUNK]
            records = await self._records.read([one.kid for one in part])
            for one, record in zip(part, records, strict=True):
                alarm = Alarm(one.kid, one.last, one.reasons)
                if not isinstance(record, KeyRecord) or self._notes.has(alarm):
                    continue
                if self._policy.watches(record):
                    found.append((alarm, record, self._policy.rule_for(record, one.reasons)))
        return found

    async def _take_places(self, wanted: Sequence[_Wanted]) -> frozenset[str]:
        kids = [
            record.kid
            for _, record, rule in wanted
            if rule is not None and record.status is Status.ACTIVE
        ]
        if not kids or len(kids) > self._policy.per_hour:
            return frozenset()
        return await self._ended.take_places(kids, HOUR_MS, self._policy.per_hour)

    async def _act(self, record: KeyRecord, rule: Rule | None, have_place: frozenset[str]) -> Done:
        if rule is None or record.status is not Status.ACTIVE:
            return Done.NOTED
        if record.kid not in have_place:
            return Done.HELD
        author = self._lifecycle.author(f"anomalies/{rule.name}", "unusual use")
        try:
            return await self._change(record, rule, author)
        except NotFound:  # deleted meanwhile
            return Done.NOTED

    async def _change(self, record: KeyRecord, rule: Rule, author: Author) -> Done:
        if rule.action is RuleAction.ROTATE:
            is_begun = await self._rotation.begin(record, None, author)
            return Done.ROTATED if is_begun else Done.HELD
        if rule.action is RuleAction.THROTTLE:
            now = self._clock.wall_ms()
            throttle = Throttle(rule.percent, now + rule.for_ms).with_former(record.throttle, now)
            result = await self._lifecycle.update(record.kid, {"throttle": throttle}, author)
            return Done.NOTED if isinstance(result, Refused) else Done.THROTTLED
        result = await self._lifecycle.disable(record.kid, author)
        return Done.NOTED if isinstance(result, Refused) else Done.DISABLED
