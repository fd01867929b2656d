"""Keys in all objects of a git repository."""

import contextlib
import os
import resource
import shutil
import socket
import subprocess

import pytest

from authz.core.errors import Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.keys.scanning import KeyScanner
from authz.process import git_packs
from authz.process.git_command import GitCommand
from authz.process.git_objects import GitObjects
from authz.process.git_pack import Pack
from authz.process.searched_bytes import BLOCK, BlockSearch

RING = Keyring("ak", [Pepper.expand("1", b"p" * 32)])


class Repository:
    """A git repository in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.git("init", "-q", "-b", "main")

    def git(self, *words):
        """Run git and return its output."""
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        command = ("git", *who, *words)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def commit(self, name, content, message="m"):
        """Commit a file and return the id of the commit."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def found(self):
        """Return by key its thing, path, line and commit."""
        search = BlockSearch(KeyScanner(("ak",)))
        return {
            one.hit.sighting.reveal(): (one.thing, one.path, one.line, one.commit)
            for one in GitObjects(self.folder, search).found()
        }


@pytest.fixture
def repository(tmp_path):
    """An empty repository."""
    return Repository(tmp_path)


def keys(count):
    """Return new keys."""
    return [RING.mint("live").text for _ in range(count)]


def test_every_planted_key_is_found(repository):
    """Keys are found in every kind of object, also packed, amended, deleted and dangling ones."""
    text, binary, large, message, tag, gone, amended, branch = keys(8)
    first = repository.commit("src/a.py", f"one\nkey = '{text}'\n".encode())
    second = repository.commit("b.bin", b"\x00\xff" + binary.encode() + b"\x00" * 9)
    third = repository.commit("c.txt", b"\n" * (BLOCK - 40) + large.encode() + b"x" * BLOCK)
    fourth = repository.commit("d.txt", b"d", f"do not commit {message}")
    repository.git("tag", "-a", "-m", f"tag {tag}", "v1")
    repository.commit("gone.txt", gone.encode())
    (repository.folder / "gone.txt").unlink()
    repository.commit("e.txt", b"e")
    repository.commit("f.txt", amended.encode())
    (repository.folder / "f.txt").write_bytes(b"clean")
    repository.git("add", "-A")
    repository.git("commit", "-q", "--amend", "-m", "clean")
    repository.git("checkout", "-qb", "other")
    repository.commit("g.txt", branch.encode())
    repository.git("checkout", "-q", "main")
    repository.git("branch", "-qD", "other")
    loose = repository.found()
    assert loose[text] == ("blob", "src/a.py", 2, first)
    assert loose[binary] == ("blob", "b.bin", 1, second)
    assert loose[large] == ("blob", "c.txt", BLOCK - 39, third)
    assert loose[message][3] == fourth
    assert {one[0] for one in loose.values()} == {"blob", "commit", "tag"}
    assert set(loose) == {text, binary, large, message, tag, gone, amended, branch}
    repository.git("repack", "-adfq")
    assert repository.found() == loose


def test_a_key_in_the_name_of_a_deleted_file(repository):
    """A tree that names a file by a key is found, with its commit."""
    (key,) = keys(1)
    commit = repository.commit(f"folder/{key}.txt", b"x")
    assert repository.found()[key] == ("tree", "folder", 0, commit)


def test_a_key_that_a_merge_brought(repository):
    """The commit of a blob that only the merge itself has is the merge."""
    (key,) = keys(1)
    repository.commit("a", b"a")
    repository.git("checkout", "-qb", "side")
    repository.commit("b", b"b")
    repository.git("checkout", "-q", "main")
    repository.commit("c", b"c")
    repository.git("merge", "-q", "--no-commit", "side")
    commit = repository.commit("a", key.encode(), "merge")
    assert repository.found()[key] == ("blob", "a", 1, commit)


def test_the_environment_of_a_hook_changes_nothing(repository, tmp_path, monkeypatch):
    """GIT_DIR, which git sets for its hooks, does not lead to another repository."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "missing"))
    assert set(repository.found()) == {key}


def test_no_program_of_the_repository_runs(repository):
    """Settings of a repository that name a program start none."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    mark = repository.folder / "ran"
    for name in ("gpg.program", "core.fsmonitor", "diff.external", "core.pager", "diff.x.textconv"):
        repository.git("config", name, f"touch {mark}; false")
    repository.git("config", "log.showSignature", "true")
    (repository.folder / ".gitattributes").write_text("* diff=x\n")
    assert set(repository.found()) == {key}
    assert not mark.exists()


def damaged(repository):
    """Overwrite the object of a blob."""
    oid = repository.git("hash-object", "a")
    file = repository.folder / ".git" / "objects" / oid[:2] / oid[2:]
    file.chmod(0o644)
    file.write_bytes(b"damaged")


def test_a_damaged_object_is_no_clean_result(repository):
    """An object that git cannot read is an error."""
    repository.commit("a", b"a")
    damaged(repository)
    with pytest.raises(Unavailable, match="git"):
        repository.found()


def test_no_repository_is_no_clean_result(tmp_path, monkeypatch):
    """A folder without git is an error, and so is a machine without git."""
    objects = GitObjects(tmp_path, BlockSearch(KeyScanner(("ak",))))
    with pytest.raises(Unavailable, match="not a git repository"):
        list(objects.found())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="cannot be started"):
        list(objects.found())


@pytest.mark.parametrize(
    ("how", "sent"),
    [
        *(("kill -9 $$", sent) for sent in (0, 20, 100_000)),
        *(("kill -15 $$", sent) for sent in (0, 20, 100_000)),
        *(("exit 0", sent) for sent in (20, 100_000)),
        ("echo x; exit 0", 0),
    ],
)
def test_a_stopped_git_is_no_clean_result(repository, tmp_path, monkeypatch, how, sent):
    """A git that ends early is an error, also if it ends between two objects by a signal."""
    repository.commit("a", b"a" * 300_000)
    real = subprocess.run(("which", "git"), capture_output=True, check=True).stdout.decode().strip()
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\nreal={real}\ncase "$*" in *cat-file*) '
        f'$real "$@" | head -c {sent}; {how};; *) exec $real "$@";; esac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(Unavailable):
        repository.found()


def test_a_full_disk_is_no_clean_result(repository):
    """The list of loose objects for git cannot be written."""
    repository.commit("a", b"a")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(Unavailable, match="a temporary file cannot be written"):
            repository.found()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_git_that_is_no_longer_wanted(repository):
    """After an exception a git that works without a word is ended, and not waited for."""
    reads, writes = os.pipe()
    command = GitCommand(repository.folder)
    with os.fdopen(writes, "wb"), os.fdopen(reads, "rb") as given:  # noqa: SIM117
        with pytest.raises(KeyboardInterrupt), command.output(("cat-file", "--batch"), given):
            raise KeyboardInterrupt


@pytest.mark.parametrize("option", ["--depth=1", "--filter=blob:none", "--filter=tree:0"])
def test_a_clone_without_all_objects_is_told(repository, tmp_path, option):
    """A clone without its whole history, or without the contents that it does not need, says so."""
    repository.commit("a", b"a")
    repository.commit("a", b"b")
    repository.git("config", "uploadpack.allowFilter", "true")
    search = BlockSearch(KeyScanner(("ak",)))
    assert GitObjects(repository.folder, search).gap() == ""
    clone = tmp_path / "clone"
    repository.git("clone", "-q", option, f"file://{repository.folder}", str(clone))
    assert "not here" in GitObjects(clone, search).gap()


def test_a_store_of_objects_that_is_gone_is_no_clean_result(repository, tmp_path_factory):
    """Git goes on without a folder of objects that the repository shares with another one."""
    lost, kept = keys(2)
    repository.commit("a", lost.encode())
    clone = Repository(tmp_path_factory.mktemp("clones"))
    alternates = clone.folder / ".git" / "objects" / "info" / "alternates"
    alternates.write_text(f"{repository.folder}/.git/objects\n")
    clone.commit("b", kept.encode())
    assert set(clone.found()) == {kept, lost}
    shutil.move(repository.folder / ".git", repository.folder / "elsewhere")
    found = []
    with pytest.raises(Unavailable, match="alternate"):
        found.extend(
            one.hit.sighting.reveal()
            for one in GitObjects(clone.folder, BlockSearch(KeyScanner(("ak",)))).found()
        )
    assert found == [kept]


@pytest.mark.parametrize(
    ("make", "odd"),
    [
        *((os.mkfifo, name) for name in ("multi-pack-index", "0.idx", "0.pack", "0.rev")),
        *((os.mkdir, name) for name in ("0.idx", "0.pack")),
    ],
)
@pytest.mark.parametrize("is_alternate", [False, True], ids=["own", "alternate"])
@pytest.mark.timeout(60)  # git waits for ever for the writer of a pipe
def test_a_pipe_among_the_packs(repository, tmp_path_factory, is_alternate, make, odd):
    """Git is not started to read a pack that it would wait for, or leave out without a word."""
    place = repository.folder / ".git" / "objects"
    if is_alternate:
        other = Repository(tmp_path_factory.mktemp("other"))
        (place / "info" / "alternates").write_text(f"{other.folder}/.git/objects\n")
        place = other.folder / ".git" / "objects"
    for name in {"0.idx", "0.pack"} - {odd}:
        (place / "pack" / name).touch()
    make(place / "pack" / odd)
    with pytest.raises(Unavailable, match=rf"{odd} is no file") as caught:
        repository.found()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [
        *("objects/info/alternates", "objects/info/commit-graph", "objects/aa/" + "b" * 38),
        *("HEAD", "config", "commondir", "shallow", "packed-refs", "info/grafts"),
        *("refs/heads/hooks/a", "refs/link"),
    ],
)
@pytest.mark.timeout(60)  # git waits for ever for the writer of a pipe
def test_a_pipe_elsewhere_in_a_repository(repository, tmp_path_factory, odd):
    """Git is not started in a repository where it would wait."""
    repository.commit("a", b"a")
    pipe = repository.folder / ".git" / odd
    pipe.parent.mkdir(parents=True, exist_ok=True)
    pipe.unlink(missing_ok=True)
    if odd.endswith("link"):
        pipe.symlink_to(tmp_path_factory.mktemp("elsewhere"))
        pipe /= "pipe"
    os.mkfifo(pipe)
    repository.folder.joinpath("b").mkdir()
    for folder in (repository.folder, repository.folder / "b"):
        objects = GitObjects(folder, BlockSearch(KeyScanner(("ak",))))
        with pytest.raises(Unavailable, match=rf"{pipe.name} is no file"):
            objects.gap()
        with pytest.raises(Unavailable, match=rf"{pipe.name} is no file"):
            list(objects.found())


@pytest.mark.parametrize("odd", ["info/alternates", "aa/" + "b" * 38])
@pytest.mark.timeout(60)
def test_a_pipe_in_the_alternate_of_an_alternate(repository, tmp_path_factory, odd):
    """The names of alternates are relative to their folder of objects, and may have quotes."""
    first, second = (tmp_path_factory.mktemp("store") for _ in range(2))
    for store in (first, second):
        (store / "info").mkdir()
    stores = repository.folder / ".git" / "objects"
    (stores / "info" / "alternates").write_text(f"# a\n{os.path.relpath(first, stores)}\n")
    (first / "info" / "alternates").write_text(f'"{second}"\n{stores}\n')
    pipe = second / odd
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    with pytest.raises(Unavailable, match=rf"{second}/{odd} is no file"):
        repository.found()


@pytest.mark.parametrize("is_bare", [False, True], ids=["worktree", "bare"])
@pytest.mark.timeout(60)
def test_a_pipe_in_the_repository_of_another_folder(repository, tmp_path, is_bare):
    """A worktree has its files elsewhere, and a bare repository is its own folder of files."""
    repository.commit("a", b"a")
    if is_bare:
        repository.git("clone", "-q", "--bare", ".", "other")
        pipe = tmp_path / "other" / "shallow"
    else:
        repository.git("worktree", "add", "-q", "other")
        pipe = repository.folder / ".git" / "shallow"
    objects = GitObjects(tmp_path / "other", BlockSearch(KeyScanner(("ak",))))
    assert objects.gap() == ""
    os.mkfifo(pipe)
    with pytest.raises(Unavailable, match="shallow is no file"):
        objects.gap()


@pytest.mark.timeout(60)
def test_links_and_sockets_in_a_repository(repository, monkeypatch):
    """A link may lead to nothing or to a folder around it. One of git's programs makes a socket."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    folder = repository.folder / ".git"
    (folder / "gone").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)
    monkeypatch.chdir(folder)  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("fsmonitor--daemon.ipc")
    assert set(repository.found()) == {key}


def test_packs_behind_links(repository, tmp_path_factory):
    """A pack may be a link to a file of another folder, and a folder of its own may lie there."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    repository.git("gc", "-q")
    folder = repository.folder / ".git" / "objects" / "pack"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in list(folder.iterdir()):
        file.rename(elsewhere / file.name)
        file.symlink_to(elsewhere / file.name)
    (folder / "multi-pack-index.d").mkdir()
    (folder / "gone").symlink_to(elsewhere / "gone")
    assert set(repository.found()) == {key}


def test_an_index_that_git_cannot_read_is_no_clean_result(repository):
    """Git goes on without the pack of a damaged index."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    repository.git("gc", "-q")
    folder = repository.folder / ".git" / "objects" / "pack"
    for ending in ("idx", "pack"):
        (folder / f"pack-0.{ending}").touch()
    found = []
    with pytest.raises(Unavailable, match=r"pack-0\.idx"):
        found.extend(GitObjects(repository.folder, BlockSearch(KeyScanner(("ak",)))).found())
    assert [one.path for one in found] == ["a"]


def test_an_index_that_cannot_be_opened_is_no_clean_result(repository):
    """Git goes on without its pack and without a word, such as after a missing permission."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    repository.git("gc", "-q")
    (index,) = (repository.folder / ".git" / "objects" / "pack").glob("*.idx")
    index.unlink()
    index.symlink_to(index.name)  # root may read every file, so a loop stands for a permission
    with pytest.raises(Unavailable, match=r"went on after: error: .*\.idx: "):
        repository.found()


def test_alternates_that_cannot_be_read_are_no_clean_result(repository):
    """Git only warns, and goes on without the objects of the other repository."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    (repository.folder / ".git" / "objects" / "info" / "alternates").mkdir()
    found = []
    with pytest.raises(Unavailable, match="info/alternates"):
        found.extend(GitObjects(repository.folder, BlockSearch(KeyScanner(("ak",)))).found())
    assert [one.hit.sighting.reveal() for one in found] == [key]


def test_alternates_of_an_alternate_that_cannot_be_read(repository, tmp_path_factory):
    """The other folder of objects may have any name."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    store = tmp_path_factory.mktemp("store")
    (store / "info" / "alternates").mkdir(parents=True)
    (repository.folder / ".git" / "objects" / "info" / "alternates").write_text(f"{store}\n")
    with pytest.raises(Unavailable, match="info/alternates"):
        repository.found()


@pytest.mark.parametrize("gone", ["pack", "idx"])
def test_half_a_pack_is_no_clean_result(repository, gone):
    """Git goes on without a pack that has an index and no data, or an index that leads nowhere."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    repository.git("gc", "-q")
    folder = repository.folder / ".git" / "objects" / "pack"
    (file,) = folder.glob(f"*.{gone}")
    file.unlink()
    if gone == "idx":
        file.symlink_to(folder / "nowhere")
    with pytest.raises(Unavailable, match=r"\.idx: No such file"):
        repository.found()


def test_a_pack_that_was_packed_again_is_no_error(repository, monkeypatch):
    """Another process may remove an old pack while a search begins. A new one has its objects."""
    (key,) = keys(1)
    repository.commit("a", key.encode())
    repository.git("gc", "-q")
    folder = repository.folder / ".git" / "objects" / "pack"
    (index,) = folder.glob("*.idx")
    old = [folder / f"pack-{'0' * 40}.{ending}" for ending in ("idx", "pack")]
    for file in old:
        shutil.copy(index.with_suffix(file.suffix), file)

    def removed(where, *rest):
        if where == old[0]:
            for file in old:
                file.unlink()
        return Pack(where, *rest)

    monkeypatch.setattr(git_packs, "Pack", removed)
    assert set(repository.found()) == {key}
    assert not old[0].exists()


def test_keys_beside_a_damaged_object_are_found(repository):
    """The keys of packed objects are reported, though a loose one cannot be read."""
    (key,) = keys(1)
    commit = repository.commit("k", key.encode())
    repository.git("gc", "-q")
    repository.commit("a", b"a")
    damaged(repository)
    found = []
    with pytest.raises(Unavailable, match="git"):
        found.extend(GitObjects(repository.folder, BlockSearch(KeyScanner(("ak",)))).found())
    assert [(one.path, one.commit) for one in found] == [("k", commit)]


@pytest.mark.parametrize(
    "name",
    ["caf\xe9.env", 'a "quoted"\t\\name', "\x01\x7f\n1", os.fsdecode(b"\xff"), '"', "a\\101"],
    ids=("accent", "quotes", "control", "bytes", "quote", "escape"),
)
def test_a_path_is_that_of_the_file(repository, name):
    """Git writes some paths in quotes; the report has the name of the file."""
    (key,) = keys(1)
    repository.commit(name, key.encode())
    assert repository.found()[key][1] == name


def test_a_repository_cannot_hide_a_path(repository):
    """A setting that shortens paths to the current folder hides no commit."""
    (key,) = keys(1)
    commit = repository.commit("a", key.encode())
    repository.git("config", "diff.relative", "true")
    (repository.folder / "sub").mkdir()
    found = GitObjects(repository.folder / "sub", BlockSearch(KeyScanner(("ak",)))).found()
    assert [(one.path, one.commit) for one in found] == [("a", commit)]


def test_a_repository_runs_no_program(repository, tmp_path_factory, monkeypatch):
    """Missing objects are not fetched, also by a git that knows no GIT_NO_LAZY_FETCH."""
    folder = tmp_path_factory.mktemp("old-git")
    ran, old = folder / "ran", folder / "git"
    old.write_text(f'#!/bin/sh\nunset GIT_NO_LAZY_FETCH\nexec {shutil.which("git")} "$@"\n')
    old.chmod(0o755)
    (key,) = keys(1)
    repository.commit(f"d/{key}", b"x")
    repository.commit(f"d/{key}", b"y")
    repository.git("config", "uploadpack.allowFilter", "true")
    source = f"file://{repository.folder}"
    repository.git(
        "clone", "-q", "--no-checkout", "--filter=blob:none", source, str(folder / "part")
    )
    part = Repository(folder / "part")
    part.git("config", "remote.origin.url", "ssh://evil.example/x")
    part.git("config", "core.sshCommand", f"touch {ran}; false")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with contextlib.suppress(Unavailable):
        part.found()
    assert not ran.exists()
