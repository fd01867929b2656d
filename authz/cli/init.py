"""`authz init`: create the pepper file and authz:meta.

A failure leaves nothing to clean up, and a second run works. The store is read before a file is
made, a file appears complete or not at all, and a pepper whose fingerprint may have reached the
store is never deleted.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from authz.cli import storestate
from authz.cli.administration import stored_settings
from authz.cli.invocation import Invocation, common
from authz.cli.new_store import confirm_new_store, lost_change
from authz.cli.reshard import reshard
from authz.cli.session_loop import run_interruptible
from authz.core import fields
from authz.core.errors import BadInput, BadSettings, Conflict, Unavailable
from authz.core.keys.text import PREFIX_PATTERN
from authz.core.partitions import COUNTS
from authz.settings.model import PepperFile, Settings
from authz.storage.keys import StoredKeys
from authz.wiring import administration
from authz.wiring.pepper_files import make_pepper, pepper_mistakes


@dataclass(frozen=True, slots=True)
class Done:
    """The result of `init`: the pepper file, and whether it and the store were new.

    fingerprint: of the oldest pepper of the settings, by which a meter knows the store.
    indexed: imported keys in the index that was made, or None if it was complete or is not needed.
    not_loaded: the reason why the store has not all functions, or "". lacking: what the store's
    cluster lacks, each with its remedy.
    """

    pepper: Path
    fingerprint: str
    pepper_made: bool
    store_initialised: bool
    indexed: int | None = None
    not_loaded: str = ""
    lacking: tuple[str, ...] = ()


@click.command()
@click.option(
    "--new-store",
    is_flag=True,
    help="Set up an empty store although its data is gone: all earlier keys get 401.",
)
@click.option("--yes", is_flag=True, help="Do not ask, with --new-store or --reshard.")
@click.option(
    "--reshard",
    "is_resharded",
    is_flag=True,
    help="Move a store with one partition to redis.partitions, while it is used.",
)
@click.option("--cancel", is_flag=True, help="With --reshard: drop a move that is not decided.")
@click.option("--keep", is_flag=True, help="With --reshard: remove no old name in the end.")
@click.option(
    "--retire-prefix",
    metavar="PREFIX",
    default="",
    help="Give up an older prefix: keys with it are not ours any more.",
)
@click.option(
    "--partitions",
    type=click.Choice(list(map(str, COUNTS))),
    help="The number of partitions that you expect; redis.partitions has to be the same.",
)
@common
@click.pass_obj
def init(
    invocation: Invocation,
    *,
    new_store: bool,
    yes: bool,
    retire_prefix: str,
    partitions: str | None,
    is_resharded: bool,
    cancel: bool,
    keep: bool,
) -> None:
    """Create the pepper file and initialise the store.

    The pepper is the secret with which keys are made and verified: the newest of keys.peppers.
    Copy its file to every sidecar, and keep a backup: without it no key of the store works again.
    An existing file and an initialised store stay unchanged. A store that lost its data is refused:
    `authz restore` brings the keys back, --new-store begins without them.

    The store records keys.prefix and keys.public_prefix. If you change one, list the old one in
    keys.older_prefixes: its keys stay valid. --retire-prefix gives it up.

    It loads the functions by which sidecars and meters count, so that they need no right to load
    scripts. Run it before they are updated. On a cluster each primary gets them, and the answer
    names settings of the cluster that do not suit sidecars. Run it again after a node was added.

    With redis.partitions it sets up each partition. Their number is fixed from then on. It is a
    setting, and not only an option of this command, because sidecars need it, too.

    --reshard moves a store that was set up with one partition to the number in redis.partitions,
    with all it has. Read docs/cluster.md first. Repeat it if it was interrupted.

    --json shows the fingerprint of the oldest pepper in keys.peppers. Write it into
    meter.pepper_fingerprint: then a meter counts in no other installation's store.

    If keys were imported, it makes the index by which sidecars know the digests of all imported
    keys, unless that is complete. Run it after an update of everything that writes keys.

    \b
    Examples:
      authz init
      authz init --config /etc/authz/authz.yaml
      authz init --retire-prefix ak
    """
    if (cancel or keep) and not is_resharded:
        raise BadInput("--cancel" if cancel else "--keep", "is only for --reshard")
    if is_resharded:
        reshard(invocation, yes=yes, keep=keep, is_cancelled=cancel)
        return
    if retire_prefix and not PREFIX_PATTERN.fullmatch(retire_prefix):
        problem = f"{fields.shown(retire_prefix)} is not a prefix, such as ak"
        raise BadInput("--retire-prefix", problem)
    settings = stored_settings(invocation)
    _refuse_other_count(settings, partitions)
    done = run_interruptible(
        _initialise(settings, is_new=new_store, is_agreed=yes, retired=retire_prefix)
    )
    made = "made" if done.pepper_made else "is there already"
    initialised = "initialised" if done.store_initialised else "is initialised already"
    document: dict[str, object] = {
        "pepper": str(done.pepper),
        "pepper_fingerprint": done.fingerprint,
        "pepper_made": done.pepper_made,
        "store_initialised": done.store_initialised,
    }
    text = f"pepper {done.pepper}: {made}\nstore: {initialised}"
    if done.indexed is not None:
        document["imported_keys_indexed"] = done.indexed
        text += f"\nindex of imported keys: made, with {done.indexed} entries"
    if done.not_loaded:
        document["functions_not_loaded"] = done.not_loaded
        text += f"\nfunctions: not loaded, so sidecars load scripts: {done.not_loaded}"
    if done.lacking:
        document["cluster_lacks"] = list(done.lacking)
        text += "".join(f"\ncluster: {problem}" for problem in done.lacking)
    invocation.answer(document, text)


def _refuse_other_count(settings: Settings, wanted: str | None) -> None:
    """Raise BadInput if another number of partitions is wanted than the settings have."""
    count = settings.redis.count
    if wanted is not None and int(wanted) != count:
        raise BadInput(
            "--partitions", f"{wanted}, but redis.partitions is {count}; set it there, for all"
        )


async def _initialise(found: Settings, *, is_new: bool, is_agreed: bool, retired: str = "") -> Done:
    newest = found.keys.peppers[-1]
    async with administration.stores(found) as stores, administration.signpost(found) as signpost:
        known = storestate.known_change(found)  # first: another init may finish meanwhile
        had_all = await signpost.look() if signpost else False
        if retired:
            await _retire(found, stores, retired)
        # Before a pepper is made; also with --new-store, which would mix new keys with the rest.
        theirs, filled, empty = await _look(stores)
        if not theirs and not is_new and (problem := storestate.other_namespace(found)):
            raise click.ClickException(problem)
        lost = await lost_change(empty, 0 if had_all and known is None else known)
        if lost is not None:
            of = f" of {len(empty)} of {len(stores)} partitions" if filled else ""
            confirm_new_store(lost, of, is_new=is_new, is_agreed=is_agreed)
        await _refuse_pepper(found, filled, theirs)
        if signpost:  # a refused run has fixed no number; before a pepper that others may use
            await signpost.claim()
        made = not os.path.lexists(newest.file) and make_pepper(newest.file)  # noqa: ASYNC240  local
        ring = administration.keyring(found)
        wanted = (ring.fingerprints, ring.prefixes, ring.public_prefix)
        try:
            initialised = [await store.initialise(*wanted, is_compact=True) for store in stores]
        except (Unavailable, Conflict) as cause:
            if made:
                await _remove_unused(newest, ring.fingerprints[newest.version], stores)
            if isinstance(cause, Conflict):  # a restore was started meanwhile
                raise click.ClickException(str(cause)) from None
            raise
        if signpost:
            await signpost.complete()
        change = max([await store.sequence() for store in stores])
        storestate.remember(found, change) if lost is None else storestate.write(found, change)
        indexed = [await store.index_imports() for store in stores]
        not_loaded = await stores[0].load_functions()
        lacking = tuple(await administration.cluster_problems(found))
    counts = [count for count in indexed if count is not None]
    total = sum(counts) if counts else None
    fingerprint = ring.fingerprints[found.keys.peppers[0].version]
    return Done(newest.file, fingerprint, made, any(initialised), total, not_loaded, lacking)


async def _look(
    stores: Sequence[StoredKeys],
) -> tuple[dict[str, str], list[StoredKeys], list[StoredKeys]]:
    """Return the fingerprints of peppers, the partitions that have some, and the others.

    Raises ClickException if one of the others has other data.
    """
    theirs: dict[str, str] = {}
    filled: list[StoredKeys] = []
    empty: list[StoredKeys] = []
    for store in stores:
        found = await store.peppers()
        theirs |= found
        (filled if found else empty).append(store)
    for store in empty:
        if problem := await store.remains():
            raise click.ClickException(problem)
    return theirs, filled, empty


async def _retire(found: Settings, stores: Sequence[StoredKeys], prefix: str) -> None:
    """Remove an older prefix from the store.

    Raises BadInput if the settings still list it, ClickException if the store does not know it.
    """
    if prefix in (found.keys.prefix, *found.keys.older_prefixes, found.keys.public_prefix):
        problem = f"{fields.shown(prefix)} is a prefix of keys in the settings"
        raise BadInput("--retire-prefix", f"{problem}; take it out there first")
    if not any([await store.retire_prefix(prefix) for store in stores]):
        raise click.ClickException(f"the store knows no prefix {fields.shown(prefix)}")


async def _refuse_pepper(
    found: Settings, filled: Sequence[StoredKeys], theirs: dict[str, str]
) -> None:
    """Raise ClickException if the newest pepper of the settings is missing and must not be made.

    It must not if the store has a pepper of its version, or has peppers and keys.peppers lists no
    older one. Raises Unavailable if the older ones are not those of the store, BadSettings for bad
    files of them. theirs: the store's fingerprints by pepper version. filled: the partitions with
    data.
    """
    *older, newest = found.keys.peppers
    if os.path.lexists(newest.file):  # noqa: ASYNC240  a local file
        return
    if problem := pepper_mistakes(found, with_newest=False):
        raise BadSettings(problem)
    if newest.version in theirs:
        raise click.ClickException(
            f"{newest.file}: does not exist, and the store's keys were made with pepper "
            f"{newest.version}; copy that file here"
        )
    if older:
        keys = found.keys.changed(peppers=tuple(older))
        ring = administration.keyring(found.changed(keys=keys))
        for store in filled:
            await store.verify(ring.fingerprints)
    elif theirs:
        raise click.ClickException(
            f"the store's keys were made with pepper {', '.join(sorted(theirs))}; "
            f"list it in keys.peppers before pepper {newest.version}"
        )


async def _remove_unused(
    pepper: PepperFile, fingerprint: str, stores: Sequence[StoredKeys]
) -> None:
    """Delete the new pepper file if the store has another pepper of the same version; else keep it.

    Raises Unavailable if the store does not answer.
    """
    theirs = [(await store.peppers()).get(pepper.version) for store in stores]
    if fingerprint not in theirs and any(theirs):
        pepper.file.unlink()
