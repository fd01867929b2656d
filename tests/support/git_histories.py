"""Random git repositories with keys in them, and a plain reading of all of their objects."""

import os
import random
import shutil
import subprocess
import zlib
from pathlib import Path

from authz.core.keys import base62
from authz.core.keys.scanning import BODY_LENGTH, KeyScanner
from authz.core.keys.text import CHECKSUM_LENGTH, KID_LENGTH

SCANNER = KeyScanner(("ak",), ("zz-",))
GIT_SECONDS = 20  # of a damaged pack, git can read the same bytes without end
WORDS = ("peak_", "ak_live", "break", "ak_test_", "zz", "one two three\n", "\x00\xff")


class RandomRepository:
    """A repository that `chance` makes: its contents, and how they are stored."""

    def __init__(self, folder: Path, chance: random.Random, form: str) -> None:
        self.folder = folder
        self.chance = chance
        self._contents: list[bytes] = []
        self._number = 0
        run(folder.parent, "init", "-q", f"--object-format={form}", "-b", "main", str(folder))
        self.grow()

    def git(self, *words: str) -> bytes:
        """Run git and return its output."""
        return run(self.folder, *words)

    def grow(self) -> None:
        """Add a random number of commits, in a pack or as loose objects."""
        chance, stream = self.chance, bytearray()
        is_new = not self._number
        for place in range(chance.randrange(1, 25)):
            self._number += 1
            message = f"change {self._number} {self._key(0.05)}".encode()
            stream += b"commit refs/heads/main\ncommitter a <a@example.com> %d +0000\n" % (
                1_000_000 + self._number
            )
            stream += b"data %d\n%s\n" % (len(message), message)
            if not (is_new or place):
                stream += b"from refs/heads/main^0\n"
            for _ in range(chance.randrange(1, 4)):
                content = self._content()
                name = f"d{chance.randrange(3)}/{self._key(0.03) or chance.randrange(30)}"
                stream += f"M 100644 inline {name}\ndata {len(content)}\n".encode()
                stream += content + b"\n"
        limit = chance.choice(("0", "1000000"))
        words = ("-c", f"fastimport.unpackLimit={limit}", "fast-import", "--quiet", "--force")
        run(self.folder, *words, given=bytes(stream))
        if chance.random() < 0.3:
            tag = f"tag {self._key(0.5)}"
            self.git("tag", "-a", "-m", tag, f"v{self._number}", "main")

    def store(self) -> None:
        """Store the objects in another way."""
        chance = self.chance
        kind = chance.randrange(7)
        if kind == 0:
            self.git("repack", "-adq")
        elif kind == 1:
            self.git("repack", "-dq")
        elif kind == 2:
            depth, window = chance.randrange(1, 60), chance.randrange(1, 30)
            self.git("repack", "-adfq", f"--depth={depth}", f"--window={window}")
        elif kind == 3:
            self.git("-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq")
        elif kind == 4:  # a second copy of all
            listed = self.git("rev-list", "--objects", "--all")
            where = self.git("rev-parse", "--git-path", "objects/pack/pack").decode().strip()
            run(self.folder, "pack-objects", "-q", where, given=listed)
        elif kind == 5:
            for pack in self.packs():
                data = pack.read_bytes()
                for file in pack.parent.glob(f"{pack.stem}.*"):
                    file.unlink()
                run(self.folder, "unpack-objects", "-q", given=data)
        elif self.packs():
            self.git("multi-pack-index", "write")

    def packs(self) -> list[Path]:
        """Return the packs of this repository."""
        return sorted(self.folder.glob(".git/objects/pack/*.pack"))

    def hide(self) -> None:
        """Replace a random commit by another one."""
        commits = self.git("rev-list", "--all").decode().split()
        if len(commits) > 1:
            one, other = self.chance.sample(commits, 2)
            self.git("replace", "-f", one, other)

    def clone(self, kind: str) -> "RandomRepository":
        """Return a clone: `shared` with our objects, or `partial` without most of them."""
        found = object.__new__(RandomRepository)
        found.folder = self.folder.with_name(f"{self.folder.name}-{kind}")
        found.chance, found._contents = self.chance, list(self._contents)
        found._number = self._number
        self.git("config", "uploadpack.allowFilter", "true")
        how = ("--shared",) if kind == "shared" else ("--filter=blob:limit=300", "--no-checkout")
        source = str(self.folder) if kind == "shared" else f"file://{self.folder}"
        run(self.folder.parent, "clone", "-q", *how, source, str(found.folder))
        if kind == "shared":
            found.grow()
        return found

    def damage(self, ending: str) -> None:
        """Change, remove or add a byte somewhere in a pack (`.pack`) or its index (`.idx`)."""
        packs = self.packs()
        if not packs:
            return
        file = self.chance.choice(packs).with_suffix(ending)
        data = bytearray(file.read_bytes())
        at = self.chance.randrange(len(data))
        how = self.chance.randrange(4)
        if how == 0:
            del data[at:]
        elif how == 1:
            data.insert(at, self.chance.randrange(256))
        else:
            data[at] ^= 1 << self.chance.randrange(8)
        file.chmod(0o644)
        file.write_bytes(data)

    def _key(self, likely: float) -> str:
        if self.chance.random() >= likely:
            return ""
        text = key(self.chance)
        return text if self.chance.random() < 0.8 else f"{text[:-1]}!"

    def _content(self) -> bytes:
        chance = self.chance
        old = chance.choice(self._contents) if self._contents and chance.random() < 0.8 else b""
        lines = old.splitlines(keepends=True)
        for _ in range(chance.randrange(1, 9)):
            at = chance.randrange(len(lines) + 1)
            if lines and chance.random() < 0.4:
                # A key that a delta puts together from several parts of its base.
                own = lines[at - 1]
                cut = chance.randrange(len(own) + 1)
                lines[at - 1] = chance.choice(lines)[:cut] + own[cut:]
            else:
                word = chance.choice(WORDS).encode("latin-1") * chance.randrange(1, 40)
                lines.insert(at, word + self._key(0.2).encode() + b"%d\n" % chance.randrange(99))
        self._contents.append(b"".join(lines))
        return self._contents[-1]


def key(chance: random.Random) -> str:
    """Return a text in the form of a key, with its checksum."""
    body, kid = ("".join(chance.choices(base62.DIGITS, k=one)) for one in (BODY_LENGTH, KID_LENGTH))
    text = f"ak_live_{kid}_{body}"
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, 62)
        digits = base62.DIGITS[digit] + digits
    return text + digits


def run(folder: Path, *words: str, given: bytes = b"") -> bytes:
    """Run git in a folder and return its output."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "gc.auto=0")
    command = (shutil.which("git") or "git", *who, *words)
    return subprocess.run(command, cwd=folder, input=given, capture_output=True, check=True).stdout


Keys = set[tuple[str, str, int, str]] | None


def plain(folder: Path) -> Keys:
    """Return name, kind, offset and text of the keys of all objects, as git prints them.

    None if git cannot print all.
    """
    return _keys(folder, "--batch-all-objects")


def plain_in_every_way(folder: Path) -> list[Keys]:
    """Return the same as git prints them by name, in the order of packs, and asked for each name.

    Of a damaged repository git can print an object in one of these ways and not in another one.
    """
    words = ("git", "-C", str(folder), "cat-file", "--batch-all-objects")
    names = subprocess.run(
        (*words, "--batch-check=%(objectname)"), capture_output=True, check=False
    ).stdout
    ways = [("--batch-all-objects",), ("--batch-all-objects", "--unordered")]
    return [*(_keys(folder, *way) for way in ways), _keys(folder, given=names)]


def _keys(folder: Path, *way: str, given: bytes = b"") -> Keys:
    words = ("git", "--no-replace-objects", "-C", str(folder), "cat-file", "--batch")
    try:
        done = subprocess.run(
            (*words, *way),
            input=given,
            capture_output=True,
            check=True,
            timeout=GIT_SECONDS,
            env={
                "GIT_NO_LAZY_FETCH": "1",
                "GIT_ALLOW_PROTOCOL": "none",
                "PATH": os.environ["PATH"],
            },
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    text, at, found = done.stdout, 0, set()
    while at < len(text):
        end = text.index(b"\n", at)
        name, kind, *size = text[at:end].split()
        if not (size and size[0].isdigit()):
            return None  # missing
        content = text[end + 1 : end + 1 + int(size[0])]
        for one in SCANNER.find(content, len(content)):
            found.add((name.decode(), kind.decode(), one.start, one.reveal()))
        at = end + 2 + int(size[0])
    return found
