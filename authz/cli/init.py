"""`authz init`: create the pepper file and authz:meta.

A failure leaves nothing to clean up, and a second run works. The store is read before a file is
made, a file appears complete or not at all, and a pepper whose fingerprint may have reached the
store is never deleted.
"""

import asyncio
import os
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from authz.cli import storestate
from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common
from authz.core import fields
from authz.core.errors import BadInput, BadSettings, Conflict, Unavailable
from authz.core.keys.text import PREFIX_PATTERN
from authz.settings.model import PepperFile, Settings
from authz.storage.keys import StoredKeys
from authz.wiring import administration
from authz.wiring.pepper_files import pepper_mistakes


@dataclass(frozen=True, slots=True)
class Done:
    """The result of `init`: the pepper file, and whether it and the store were new.

    indexed: imported keys in the index that was made, or None if it was complete or is not needed.
    not_loaded: the reason why the store has not all functions, or "". lacking: what the store's
    cluster lacks, each with its remedy.
    """

    pepper: Path
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
@click.option("--yes", is_flag=True, help="Do not ask, with --new-store.")
@click.option(
    "--retire-prefix",
    metavar="PREFIX",
    default="",
    help="Give up an older prefix: keys with it are not ours any more.",
)
@common
@click.pass_obj
def init(invocation: Invocation, *, new_store: bool, yes: bool, retire_prefix: str) -> None:
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

    If keys were imported, it makes the index by which sidecars know the digests of all imported
    keys, unless that is complete. Run it after an update of everything that writes keys.

    \b
    Examples:
      authz init
      authz init --config /etc/authz/authz.yaml
      authz init --retire-prefix ak
    """
    if retire_prefix and not PREFIX_PATTERN.fullmatch(retire_prefix):
        problem = f"{fields.shown(retire_prefix)} is not a prefix, such as ak"
        raise BadInput("--retire-prefix", problem)
    settings = load_settings(invocation)
    done = asyncio.run(
        _initialise(settings, is_new=new_store, is_agreed=yes, retired=retire_prefix)
    )
    made = "made" if done.pepper_made else "is there already"
    initialised = "initialised" if done.store_initialised else "is initialised already"
    document: dict[str, object] = {
        "pepper": str(done.pepper),
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


async def _initialise(found: Settings, *, is_new: bool, is_agreed: bool, retired: str = "") -> Done:
    newest = found.keys.peppers[-1]
    async with administration.store(found) as store:
        known = storestate.known_change(found)  # first: another init may finish meanwhile
        if retired:
            await _retire(found, store, retired)
        theirs = await store.peppers()
        # Before a pepper is made; also with --new-store, which would mix new keys with the rest.
        if not theirs and (problem := await store.remains()):
            raise click.ClickException(problem)
        if not theirs and not is_new and (other := storestate.other_namespace(found)) is not None:
            raise click.ClickException(_of_other_namespace(other))
        lost = None if theirs else await _lost_change(store, known)
        if lost is not None:
            _confirm_new_store(lost, is_new=is_new, is_agreed=is_agreed)
        made = False
        if not os.path.lexists(newest.file):  # noqa: ASYNC240  a local file
            if older := pepper_mistakes(found, with_newest=False):
                raise BadSettings(older)
            await _refuse_strangers(found, store, theirs)
            made = _make(newest.file)
        ring = administration.keyring(found)
        try:
            initialised = await store.initialise(
                ring.fingerprints, ring.prefixes, ring.public_prefix, is_compact=True
            )
        except (Unavailable, Conflict) as cause:
            if made:
                await _remove_unused(newest, ring.fingerprints[newest.version], store)
            if isinstance(cause, Conflict):  # a restore was started meanwhile
                raise click.ClickException(str(cause)) from None
            raise
        change = await store.sequence()
        storestate.remember(found, change) if lost is None else storestate.write(found, change)
        indexed = await store.index_imports()
        not_loaded = await store.load_functions()
        lacking = tuple(await administration.cluster_problems(found))
    return Done(newest.file, made, initialised, indexed, not_loaded, lacking)


async def _retire(found: Settings, store: StoredKeys, prefix: str) -> None:
    """Remove an older prefix from the store.

    Raises BadInput if the settings still list it, ClickException if the store does not know it.
    """
    if prefix in (found.keys.prefix, *found.keys.older_prefixes, found.keys.public_prefix):
        problem = f"{fields.shown(prefix)} is a prefix of keys in the settings"
        raise BadInput("--retire-prefix", f"{problem}; take it out there first")
    if not await store.retire_prefix(prefix):
        raise click.ClickException(f"the store knows no prefix {fields.shown(prefix)}")


async def _lost_change(store: StoredKeys, known: int | None) -> int | None:
    """Return the last known change of a store without data; None if it never had any.

    known: the change in the state file, or None without one. A sidecar may have recorded a later
    one.
    """
    seen = await store.highest_seen()
    return None if known is None and not seen else max(seen, known or 0)


def _of_other_namespace(other: str) -> str:
    where = f"the namespace {fields.shown(other)}" if other else "no namespace"
    return (
        f"this pepper was used for {where} of this store: correct redis.namespace; a second "
        "installation needs a pepper of its own, or `authz init --new-store`"
    )


def _confirm_new_store(lost: int, *, is_new: bool, is_agreed: bool) -> None:
    """Return only if the operator wants an empty store in place of the lost one.

    lost: its last known change, for the message. Raises ClickException without --new-store or after
    a no. Raises BadInput without --yes if stdin or stderr is not a terminal.
    """
    if not is_new:
        raise click.ClickException(
            f"the store's data is gone: it was at change {lost} or later; restore it with "
            "`authz restore FILE`, or begin without its keys with `authz init --new-store`"
        )
    can_ask = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if not is_agreed and not can_ask:
        raise BadInput("--yes", "is needed where nobody can confirm, as in a script")
    question = "set up an empty store? All keys of the lost one get 401"
    if not is_agreed and not click.confirm(question, err=True):
        raise click.ClickException("nothing was set up")


async def _refuse_strangers(found: Settings, store: StoredKeys, theirs: dict[str, str]) -> None:
    """Raise ClickException if the newest pepper of the settings must not be made.

    It must not if the store has a pepper of its version, or has peppers and keys.peppers lists no
    older one. Raises Unavailable if the older ones are not those of the store. theirs: the store's
    fingerprints by pepper version; empty for an empty store.
    """
    *older, newest = found.keys.peppers
    if newest.version in theirs:
        raise click.ClickException(
            f"{newest.file}: does not exist, and the store's keys were made with pepper "
            f"{newest.version}; copy that file here"
        )
    if older:
        keys = found.keys.changed(peppers=tuple(older))
        ring = administration.keyring(found.changed(keys=keys))
        if theirs:
            await store.verify(ring.fingerprints)
    elif theirs:
        raise click.ClickException(
            f"the store's keys were made with pepper {', '.join(sorted(theirs))}; "
            f"list it in keys.peppers before pepper {newest.version}"
        )


def _make(file: Path) -> bool:
    """Create a pepper file of mode 0600 with 64 random hex digits, and sync it.

    Return True, or False if the file exists, as when another process was first. Raises BadInput if
    it cannot be created.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".authz-pepper-") as draft:  # 0600
            draft.write(secrets.token_hex(32).encode())
            draft.flush()
            os.fsync(draft.fileno())
            os.link(draft.name, file)  # like O_EXCL, but the file is complete from the start
    except FileExistsError:
        return False
    except OSError as cause:
        raise BadInput("keys.peppers", f"{file}: {cause.strerror}") from None
    return True


async def _remove_unused(pepper: PepperFile, fingerprint: str, store: StoredKeys) -> None:
    """Delete the new pepper file if the store has another pepper of the same version; else keep it.

    Raises Unavailable if the store does not answer.
    """
    if (await store.peppers()).get(pepper.version, fingerprint) != fingerprint:
        pepper.file.unlink()
