"""A view of this machine with directories of ours at absolute paths, as a pod's volumes are."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path


def view(places: Mapping[str, Path], command: Sequence[str], directory: Path) -> list[str]:
    """Return a command that runs `command` with each of `places` at its path.

    directory: an empty one, where the view is mounted. The first directory of each path has nothing
    else in it. The command keeps its process id.
    """
    root = shlex.quote(str(directory))
    own = "|".join({"/" + path.split("/")[1] for path in places})
    lines = ["set -e", f"mount -t tmpfs none {root}", "for each in /*; do"]
    lines += [f'case "$each" in {own}) continue;; esac']
    lines += [f'if [ -L "$each" ]; then cp -P "$each" {root}/; elif [ -d "$each" ]; then']
    lines += [f'mkdir "{root}$each"; mount --rbind "$each" "{root}$each"; fi; done']
    for path, source in places.items():
        lines += [f"mkdir -p {root}{path}", f"mount --bind {shlex.quote(str(source))} {root}{path}"]
    lines += [f"exec chroot {root} {shlex.join(command)}"]
    script = "\n".join(lines)
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
