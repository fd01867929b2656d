"""All names in the store, and the layout of their content. No other module spells a name out.

    authz:meta                      hash    schema, pepper:<version> -> fingerprint,
                                            (on a cluster authz:{p}:meta)
                                            imports: 1 if keys may have been imported
                                            sealed: 1 if records without a seal are refused
                                            compact: 1 if changes write compact records, 2 if all
                                            records are compact
                                            signing:<key id> -> the public half of a key that signs
                                            tokens; see core/tokens/signing_keys.py
    authz:{p}:key:<kid>             hash    one key: the fields of encoding.py, all always present;
                                    string  the same in the compact form of compact.py
    authz:{p}:alias:<digest>        string  kid of the imported key with this digest (hexadecimal),
                                            which is of its text or of its SHA-256
    authz:{p}:imported              string  index of the digests of imported keys: index_state.py
    authz:{p}:claim:<digest>        string  number of the partition that is about to have the
                                            imported key with this digest, with a time to live;
                                            only with several: core/import_claims.py
    authz:{p}:limit:<kid>           hash    limit counters of the key; see lua/spend.lua. Of a
                                            project or tenant: limit:project:<tenant>/<id>,
                                            limit:project:<id> without a tenant, limit:tenant:<id>
    authz:{p}:limit:once:<digest>   hash    a request that is charged once: `until` in us, how many
                                            `requests` so far, the text of what the first one has
                                            `taken` from budgets, and the most of each that one of
                                            them has `used`
    authz:{p}:seq                   string  sequence number of the last change
    authz:{p}:log                   stream  seq-0 -> kid, status, at, change_id: recent changes
    authz:{p}:changes               channel "seq kid status at change_id"; for an import then
                                            "number:entry" of its entry in the index, if that is
                                            current, and "imported"
    authz:{p}:heartbeat             string  written by sidecars behind Sentinel and on a cluster to
                                            test the primary
    authz:{p}:audit                 stream  seq-0 -> actor, action, time, note, the version that was
                                            changed (`base`) and a mark of the writer (`mac`).
                                            seq-N -> a row without a kid is about the trail, such as
                                            a checkpoint: core/trail. Never trimmed here. The
                                            entry of a change can be compact: compact_entries.py
    authz:{p}:keys                  zset    kid, or its short form of index_members.py, by creation
                                            time
    authz:{p}:client:<client_id>    zset    the same of one client's keys
    authz:{p}:applied               hash    kid -> fields of the key as a file last declared them
    authz:{p}:signing               hash    key id -> sealed private half of a key that
                                            signs tokens
    authz:{p}:gone:<number>         set     tombstones of deleted keys; see tombstones.py
    authz:{p}:sidecars              zset    instance by the time of its last entry
    authz:{p}:sidecar:<instance>    string  the registry entry of a sidecar, with a time to live
    authz:{p}:issued                zset    "charges count instance" by the time at which a sidecar
                                            ended in good order: the prefix of its charge ids, and
                                            how many it gave out
    authz:{p}:request:<hash>        string  the seed of the answer to a repeatable request of the
                                            admin API, with a time to live of a day
    authz:{p}:ended:<hash>          string  the time up to which sessions of the console are ended,
                                            of one session or of one actor; with a time to live
    authz:{p}:events:lead           string  the process that delivers events, with a time to live
    authz:{p}:events:sink:<name>    hash    cursor, failing, since, tries: see notifications.py
    authz:{p}:events:dead:<name>    hash    event -> JSON of its type, kid, time and problem
    authz:{p}:events:again:<name>   hash    event -> 1: to be delivered again
    authz:{p}:events:report:<hash>  string  a report of leaked keys that was carried out, with a
                                            time to live of 7 days
    authz:{p}:events:report:<hash>:open  string  JSON of what was done for each entry of a report
                                            that may come again, with the same time to live
    authz:{p}:events:seen           stream  sightings of sidecars, such as the use of a canary key,
                                            until `authz admin` moves them to the audit trail
    authz:{p}:events:leaked         hash    kid -> time at which a report ended it, for an hour
    authz:{p}:events:rotated        hash    the same of keys that administration rotated
    authz:{p}:events:deliveries     hash    kid -> JSON of a delivery that has begun: its target,
                                            and the seed of the new secret
    authz:{p}:events:ruled          hash    the same of a rule about anomalies
    authz:{p}:abuse:blocked         hash    address or IPv6 /64 network -> end of its block, in ms
    authz:{p}:abuse:allowed         hash    network that is never blocked -> the author
    authz:{p}:abuse:version         string  number of changes of these two
    authz:{p}:restoring             string  identity of the backup that is or was restored
    authz:{p}:moved                 hash    short form of a kid that leads to this partition -> the
                                            partition of its key, which was made when the store
                                            had one partition. See moved.py; authz:meta then has
                                            `moved`: 1, and schema 2
    authz:{p}:resharding            hash    stage, partitions and seq of a move to more partitions,
                                            see storage/resharding
    authz:{p}:resharder             string  the run that moves them, with a time to live
    authz:{p}:aside:<rest>          any     the value of authz:{p}:<rest> while the store is frozen;
                                            there a list stands then

Usage. A row is a MessagePack array of counts; see core/usage/counts.py for its positions, slots
and windows. All names begin with authz:{p}:use: and have a time to live, except `last`.

    <kid>                           hash    s:<secret> -> time (s), network and user agent of its
                                            latest use, and its requests; last -> the same of a use
                                            with an unknown secret; about -> client, project,
                                            tenant, plan, environment; about_minute -> of that;
                                            about:<hour> -> those from that hour on;
                                            y<month> -> row; gone -> 1 if the key was
                                            deleted: no network and no user agent is kept
    <kid>:o                         string  open usage: what the latest commits added to the key, by
                                            minute and route, and its latest use. It is not in the
                                            other names of the key yet: lua/key_usage.lua
    <kid>:pm|ph|pd                  string  packed counts by minute, by hour and route, and by day:
                                            lua/packed_counts.lua
    <kid>:m|h|d:<window>            hash    rows of an earlier version, which count: <slot> -> row;
                                            of hours <hour in the window> * 10000 + <route> -> row.
                                            d also <day>!<reason> -> refusals; <day>n -> distinct
                                            networks if more than one, estimated
    <kid>:net:<day>                 HLL     networks of the day if they are several, for three days
    <kid>:seen                      hash    n (networks), a (families of user agents) -> MessagePack
                                            array: an hour with so many callers that no more are
                                            kept; then of each caller its name, the first and the
                                            last hour in which it was seen, and bits of the last
                                            eight hours
    <kid>:habits                    string  the state that the next hour of the key is compared
                                            with: core/usage/anomalies/habits.py
    odd:<day>                       hash    <kid>:<hour> -> the reasons why the hour is unusual
    judged                          hash    the latest hour of which all keys were judged, and sums
    judging                         string  the process that judges, with a time to live
    all:m|h|d:<window>, all:y       hash    <slot>.<route>.<code> -> row, over all requests;
                                            all:d also <day>!<reason>: refusals without a key
    routes                          hash    name of a route -> its number in fields, from 1 on
    last                            zset    kid by its latest use (s)
    seen:<hour>                     set     digests of the batches that were counted
    proc:<process>                  hash    seen, highest, lost, extra, repeated, at, and for each
                                            block of 4096 charge ids that is not complete b<block>
    procs                           zset    process by the time of its last entry (s)
    sums                            hash    entries, misdated, repeated, full: over all time
    learned                         hash    "<route> <model>" -> MessagePack of the distributions of
                                            units and micro-dollars: {sum, step -> requests} each
    estimates                       hash    "<route> <model>" -> the summary that sidecars read; see
                                            core/budgets/learned.py

With `redis.namespace` every name begins with it: `<namespace>:authz:...`.
All names that one change touches share the hash tag {p}. On a cluster all names have it, so all
lie in one slot. A single store keeps authz:meta without it, as in every version so far.

With several partitions (core/partitions.py) each has all of these names with a tag of its own, and
its meta is authz:{p}:meta on a single store, too. It also has `partitions`, their number, and
`partition`, its own from 0 on. What belongs to no key lies in partition 0: blocked addresses,
signing keys, the seeds of repeatable requests, ended sessions of the console, leases of work that
runs once, and reports of leaked keys. The meta of a store with one partition is then a signpost:
`schema`, `partitions`, and `complete`: 1 once each partition was set up.
Times are milliseconds since the epoch.
"""

from typing import Final

from authz.core.partitions import tag

SCHEMA: Final = 1
SCHEMA_MOVED: Final = 2  # of a store with moved keys, so that earlier versions refuse it
LOG_LENGTH: Final = 100_000

META_SCHEMA: Final = "schema"
META_PREFIX: Final = "prefix:"  # of the text of keys; its value says nothing
META_PUBLIC: Final = "public_prefix:"  # of publishable keys; earlier versions ignore it
META_PEPPER: Final = "pepper:"
META_IMPORTS: Final = "imports"
META_SEALED: Final = "sealed"
META_COMPACT: Final = "compact"
SOME_COMPACT: Final = "1"
ALL_COMPACT: Final = "2"
META_SIGNING: Final = "signing:"  # public halves of keys that sign tokens
META_PARTITIONS: Final = "partitions"
META_PARTITION: Final = "partition"
META_COMPLETE: Final = "complete"  # of a signpost
META_MOVED: Final = "moved"  # keys may lie outside of the partition of their kid
META_RESHARDING: Final = "resharding"  # the number of partitions that the store is about to have
ASIDE: Final = "aside:"
LEASES: Final = "leases"  # field of a limit hash: the leases and their holders


class Names:
    """The names of one partition's data. They begin with the namespace, if there is one.

    partition: its number, of `partitions`. With one partition it is 0.

    Channels are not separate for each database of a server, so their name has the database, too.
    On a cluster `meta` has the hash tag, and notices are sharded: `publish` then names the command
    before the channel.
    """

    def __init__(
        self,
        namespace: str = "",
        database: int = 0,
        *,
        is_clustered: bool = False,
        partition: int = 0,
        partitions: int = 1,
    ) -> None:
        self.namespace = namespace
        self.database = database
        self.is_clustered = is_clustered
        self.partition, self.partitions = partition, partitions
        root = f"{namespace}:authz" if namespace else "authz"
        start = self._tag = f"{root}:{{{tag(partition, partitions)}}}"
        self.meta = f"{start if is_clustered or partitions > 1 else root}:meta"
        self.seq = f"{start}:seq"
        self.log = f"{start}:log"
        self.changes = f"{start}:changes:{database}" if database else f"{start}:changes"
        self.publish = f"SPUBLISH {self.changes}" if is_clustered else self.changes
        self.subscribe = ("SSUBSCRIBE" if is_clustered else "SUBSCRIBE", self.changes)
        self.audit = f"{start}:audit"
        self.keys = f"{start}:keys"
        self.applied = f"{start}:applied"
        self.imported = f"{start}:imported"
        self.sidecars = f"{start}:sidecars"
        self.heartbeat = f"{start}:heartbeat"
        self.issued = f"{start}:issued"
        self.restoring = f"{start}:restoring"
        self.moved = f"{start}:moved"
        self.beginning = f"{start}:"
        self.resharding = f"{start}:resharding"
        self.resharder = f"{start}:resharder"
        self.usage = f"{start}:use:"
        self.estimates = f"{start}:use:estimates"
        self.signing = f"{start}:signing"
        self.leaked = f"{start}:events:leaked"
        self.ruled = f"{start}:events:ruled"
        self.rotated = f"{start}:events:rotated"
        self.deliveries = f"{start}:events:deliveries"
        self.blocked = f"{start}:abuse:blocked"
        self.allowed = f"{start}:abuse:allowed"
        self.abuse_version = f"{start}:abuse:version"
        self.seen = f"{start}:events:seen"
        self.leader = f"{start}:events:lead"

    def key(self, kid: str) -> str:
        """Name of the record of one key."""
        return f"{self._tag}:key:{kid}"

    def once(self, name: str) -> str:
        """Name of the hash that remembers a request that is charged once."""
        return f"{self._tag}:limit:once:{name}"

    def limit(self, group: str) -> str:
        """Name of the hash with the limit counters of `group`.

        group: a kid, `project:<id>`, `project:<tenant>/<id>` or `tenant:<id>`.
        """
        return f"{self._tag}:limit:{group}"

    def alias(self, digest: bytes) -> str:
        """Name of the string that holds the kid of the imported key with this digest."""
        return f"{self._tag}:alias:{digest.hex()}"

    def claim(self, digest: bytes) -> str:
        """Name of the string that claims an imported key with this digest for a partition."""
        return f"{self._tag}:claim:{digest.hex()}"

    def gone(self, bucket: int) -> str:
        """Name of the set of tombstones with this number."""
        return f"{self._tag}:gone:{bucket}"

    def client(self, client_id: str) -> str:
        """Name of the sorted set with the kids of one client."""
        return f"{self._tag}:client:{client_id}"

    def request(self, name: str) -> str:
        """Name of the string of one repeatable request. name: 64 hexadecimal digits."""
        return f"{self._tag}:request:{name}"

    def ended(self, name: str) -> str:
        """Name of the string that ends sessions of the console. name: 64 hexadecimal digits."""
        return f"{self._tag}:ended:{name}"

    def sink(self, name: str) -> str:
        """Name of the hash with the progress of one sink of events."""
        return f"{self._tag}:events:sink:{name}"

    def report(self, digest: str) -> str:
        """Name of the string that remembers a report. digest: 64 hexadecimal digits."""
        return f"{self._tag}:events:report:{digest}"

    def open_report(self, digest: str) -> str:
        """Name of the string with the progress of a report. digest: 64 hexadecimal digits."""
        return f"{self.report(digest)}:open"

    def dead(self, sink: str) -> str:
        """Name of the hash with the dead letters of one sink."""
        return f"{self._tag}:events:dead:{sink}"

    def again(self, sink: str) -> str:
        """Name of the hash with the events that one sink is to get again."""
        return f"{self._tag}:events:again:{sink}"

    def aside(self, name: str) -> str:
        """Name that has the value of `name` while the store is frozen for a move."""
        return f"{self._tag}:{ASIDE}{name.removeprefix(self.beginning)}"

    def sidecar(self, instance: str) -> str:
        """Name of the string with the registry entry of one sidecar."""
        return f"{self._tag}:sidecar:{instance}"


DEFAULT: Final = Names()


def names_of(client: object) -> Names:
    """Return the `names` attribute that Endpoint.client set on a client, or the default names."""
    return getattr(client, "names", DEFAULT)
