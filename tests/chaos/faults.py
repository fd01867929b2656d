"""The faults, one at a time. Each ends its own effect."""

import asyncio
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import redis

from authz.core.new_keys import KeySpec
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Lifecycle
from authz.storage.endpoint import Endpoint
from authz.storage.keys import StoredKeys
from tests.chaos.history import Change, State, now
from tests.chaos.process import SidecarProcess
from tests.chaos.rules import settings_text, spoiled
from tests.chaos.world import World
from tests.support.fakes import make_keyring
from tests.support.gate import HOLD, LOSE, PASS, open_to_all
from tests.support.real import RealClock, Valkey
from tests.support.storage import stored

BURST = 40_000
MISTAKES = 0.6  # share of the reloads that follow a file with a mistake
DAY_MS = 86_400_000
FIRST = ("settings reloaded", "clock jumped")  # without them two mutants cannot be caught
DUMMY = "0" * 16
NOISE = ("", " ", "x", "1", "0 0 revoked", f"-1 {DUMMY} revoked", f"{'9' * 16} {DUMMY} active", "é")
# A bulk update, told as apply_change.lua tells of it.
BULK = """
for _ = 1, ARGV[2] do
  local seq = string.format('%.0f', tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
  redis.call('SET', KEYS[1], seq)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', '100000', seq .. '-0',
    'kid', ARGV[1], 'status', 'active', 'at', '1750000000000', 'change_id', 'c' .. seq)
  redis.call('PUBLISH', ARGV[3], seq .. ' ' .. ARGV[1] .. ' active 1750000000000 c' .. seq)
end
"""


@dataclass(slots=True)
class Checkpoint:
    """A copy of the store, and the possible states of every key at that time."""

    states: list[set[State]] = field(default_factory=list)


class Faults:
    """The faults of a single store. `pick` returns a name; await the method in `kinds`."""

    def __init__(self, world: World, valkey: Valkey, dice: random.Random) -> None:
        self._world = world
        self._valkey = valkey
        self._dice = dice
        self._checkpoint: Checkpoint | None = None
        self.kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "clients killed": self.kill_clients,
            "store stopped": self.stop_store,
            "sidecar stopped": self.stop_sidecar,
            "half-open from the store": self.half_open_from_store,
            "half-open to the store": self.half_open_to_store,
            "slow subscriber": self.slow_subscriber,
            "store came back empty": self.restart_empty,
            "store went back": self.restart_older,
            "loop loaded": self.load_loop,
            "log trimmed": self.trim_log,
            "noise on the channel": self.make_noise,
            "sequence garbled": self.garble_sequence,
            "scripts flushed": self.flush_scripts,
            "store full": self.fill_store,
            "neighbour in the store": self.have_neighbour,
            "clock jumped": self.jump_clock,
            "settings reloaded": self.reload_settings,
        }
        self._bag = list(FIRST)

    def pick(self) -> str:
        """Return the name of the next fault. FIRST comes first, then all in random order."""
        if not self._bag:
            self._bag = list(self.kinds)
            self._dice.shuffle(self._bag)
        return self._bag.pop()

    def _victim(self) -> list[SidecarProcess]:
        """Return one sidecar under test and all mutants."""
        good = [sidecar for sidecar in self._world.sidecars if sidecar.kind == "leased"]
        bad = [sidecar for sidecar in self._world.sidecars if sidecar.kind != "leased"]
        return [self._dice.choice(good), *bad]

    async def kill_clients(self) -> None:
        """Let the store close every connection."""
        async with self._world.outage():
            self._valkey.admin.client_kill_filter(_type="pubsub", skipme=True)
            await asyncio.sleep(0.05)

    async def stop_store(self) -> None:
        """Pause the store."""
        async with self._world.outage():
            self._valkey.pause()
            await asyncio.sleep(self._dice.uniform(0.2, 2.0))
            self._valkey.resume()

    async def stop_sidecar(self) -> None:
        """Pause a sidecar."""
        victims = self._victim()
        async with self._world.outage(*victims):
            for victim in victims:
                victim.signal(signal.SIGSTOP)
            await asyncio.sleep(self._dice.uniform(0.3, 2.5))
            for victim in victims:
                victim.signal(signal.SIGCONT)

    async def half_open_from_store(self) -> None:
        """Lose all that the store sends to a sidecar."""
        await self._spoil((PASS, LOSE), self._dice.uniform(1.0, 2.5))

    async def half_open_to_store(self) -> None:
        """Lose all that a sidecar sends to the store."""
        await self._spoil((LOSE, PASS), self._dice.uniform(1.0, 2.5))

    async def slow_subscriber(self) -> None:
        """Hold up a sidecar's link during many changes, so that the store disconnects it."""
        await self._spoil((PASS, HOLD), self._dice.uniform(0.5, 1.5), burst=True)

    async def _spoil(self, verdicts: tuple, seconds: float, *, burst: bool = False) -> None:
        victims = self._victim()
        async with self._world.outage(*victims):
            for victim in victims:
                victim.spoil(lambda _name: verdicts)
            if burst:
                async with self._world.outage():  # for everybody: it is much at once
                    await self.burst()
                    await asyncio.sleep(1.5)
            await asyncio.sleep(seconds)
            for victim in victims:
                victim.spoil(open_to_all)

    async def burst(self) -> None:
        """Make many changes at once."""
        names = (stored.SEQ, stored.LOG)
        arguments = (DUMMY, BURST, stored.CHANGES)
        await asyncio.to_thread(self._valkey.admin.eval, BULK, len(names), *names, *arguments)

    async def load_loop(self) -> None:
        """Block the event loop of a sidecar."""
        victims = self._victim()
        busy = self._dice.uniform(0.2, 1.5)
        async with self._world.outage(*victims):
            for victim in victims:
                victim.tell({"busy": busy})
            await asyncio.sleep(busy)

    # in the store's data: but for the sequence, nobody may notice anything of it

    async def trim_log(self) -> None:
        """Trim the log around the position of a sidecar that lost its link."""
        left = self._dice.choice((0, 1, 2))
        async with self._world.outage():
            self._valkey.admin.client_kill_filter(_type="pubsub", skipme=True)
            self._valkey.admin.xtrim(stored.LOG, maxlen=left, approximate=False)
            await asyncio.sleep(0.05)

    async def make_noise(self) -> None:
        """Send garbage on the channel and in the log, and repeat notices in random order."""
        admin = self._valkey.admin
        entries = admin.xrevrange(stored.LOG, count=50)
        told = [
            f"{name.partition('-')[0]} {e['kid']} {e['status']} {e['at']} {e['change_id']}"
            for name, e in entries
        ]
        self._dice.shuffle(told)
        for text in (*told, *NOISE):
            admin.publish(stored.CHANGES, text)
        async with self._world.partitions[0].at_rest:  # the next change takes the next number
            newest = admin.get(stored.SEQ)
            admin.xadd(stored.LOG, {"kid": "?", "status": "?"}, id=f"{newest}-1")

    async def garble_sequence(self) -> None:
        """Make the sequence unreadable or unusable for a while."""
        async with self._world.partitions[0].at_rest, self._world.outage():
            seq = self._valkey.admin.get(stored.SEQ)
            self._valkey.admin.set(stored.SEQ, self._dice.choice(("", "-1", "9" * 16, "1e3")))
            await asyncio.sleep(self._dice.uniform(0.3, 1.5))
            self._valkey.admin.set(stored.SEQ, seq)

    async def flush_scripts(self) -> None:
        """Remove all scripts from the store."""
        self._valkey.admin.script_flush()

    # around the data

    async def fill_store(self) -> None:
        """Set maxmemory below the memory in use for a while. Only additions are refused."""
        admin = self._valkey.admin
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", int(admin.info("memory")["used_memory"] / 1.05))
        await asyncio.sleep(self._dice.uniform(0.5, 2.0))
        admin.config_set("maxmemory", 0)

    async def have_neighbour(self) -> None:
        """Change keys of another namespace and of another database. Nothing is excused."""
        port = self._valkey.port
        for where, namespace in ((f"{port}/0", "neighbour"), (f"{port}/3", "")):
            endpoint = Endpoint.parse(f"redis://127.0.0.1:{where}", namespace=namespace)
            async with endpoint.client() as client:
                store = StoredKeys(client)
                await store.initialise(make_keyring("ak", "2").fingerprints)
                lifecycle = Lifecycle(store, make_keyring("ak", "2"), RealClock())
                spec = KeySpec(client_id="neighbour", env="live", life_ms=None)
                for _ in range(self._dice.randrange(5, 50)):
                    issued = await lifecycle.issue(spec, lifecycle.author("neighbour"))
                    by = lifecycle.author("neighbour")
                    await lifecycle.revoke(issued.record.kid, RevocationReason.UNSPECIFIED, by)

    async def jump_clock(self) -> None:
        """Move a sidecar's wall clock by up to ten years, in both directions, and back."""
        victims = self._victim()
        offsets = [sign * self._dice.choice((DAY_MS, 3650 * DAY_MS)) for sign in (1, -1)]
        self._dice.shuffle(offsets)
        async with self._world.outage(*victims):
            for offset in (*offsets, 0):
                for victim in victims:
                    victim.tell({"offset": offset})
                await asyncio.sleep(self._dice.uniform(0.3, 1.5))

    async def reload_settings(self) -> None:
        """Exchange the rules of a sidecar by SIGHUP, also after mistakes. Nothing is excused."""
        for _ in range(self._dice.randrange(2, 5)):
            for victim in self._victim():
                if not victim.reloads:
                    continue
                (before,) = victim.reloads[-1].states
                if self._dice.random() < MISTAKES:
                    await victim.use_settings(spoiled(before.other(), self._dice), is_good=False)
                    await asyncio.sleep(self._dice.uniform(0.1, 0.5))
                asked, rules = now(), before.other()
                await victim.use_settings(settings_text(rules), is_good=True)
                victim.reloads.append(Change(asked, now(), frozenset({rules})))
            await asyncio.sleep(self._dice.uniform(0.0, 0.5))

    # restarts

    async def checkpoint(self) -> None:
        """Remember the store's current state."""
        async with self._world.partitions[0].at_rest:
            self._valkey.admin.save()
            shutil.copy(self._valkey.directory / "dump.rdb", self._valkey.directory / "older")
            moment = now()
            keys = self._world.keys
            self._checkpoint = Checkpoint([key.possible(moment, moment) for key in keys])

    async def restart_older(self) -> None:
        """Kill the store and restart it with an older copy."""
        async with self._world.outage():
            killed = now()
            self._valkey.kill()
            await asyncio.sleep(self._dice.uniform(0.0, 0.5))
            await self._restore(killed)

    async def restart_empty(self) -> None:
        """Kill the store, restart it empty, and restore its data later."""
        async with self._world.outage():
            killed = now()
            await asyncio.to_thread(self._valkey.restart)
            await asyncio.sleep(self._dice.uniform(0.3, 1.5))
            self._valkey.kill()
            await self._restore(killed)

    async def _restore(self, killed: float) -> None:
        async with self._world.partitions[0].at_rest:
            shutil.copy(self._valkey.directory / "older", self._valkey.directory / "dump.rdb")
            await asyncio.to_thread(self._valkey.start)
            self._valkey.admin.config_set("client-output-buffer-limit", "pubsub 256kb 0 0")
            restored = now()
            states = self._checkpoint.states
            for number, key in enumerate(self._world.keys):
                known = states[number] if number < len(states) else {State.ABSENT}
                key.record(killed, restored, *known)


def disconnections(valkey: Valkey) -> int:
    """Return how many subscribers the store disconnected for their output buffer."""
    try:
        return valkey.admin.info("stats")["client_output_buffer_limit_disconnections"]
    except redis.RedisError:
        return 0
