"""Generate the Python modules of our messages: `python proto/generate.py`, or `make proto`.

They are committed, so that running and installing need no compiler. A test compares them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).parent
GENERATED = PROTO.parent / "authz" / "rpc" / "pb"


def generate() -> dict[str, str]:
    """Return the text of each module, by its file name."""
    sources = [str(path.relative_to(PROTO)) for path in sorted(PROTO.rglob("*.proto"))]
    with tempfile.TemporaryDirectory() as directory:
        out = [f"--python_out={directory}", f"--pyi_out={directory}"]
        compiler = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
        subprocess.run([*compiler, *out, *sources], check=True)  # noqa: S603  our own arguments
        return {path.name: path.read_text() for path in Path(directory).rglob("*.py*")}


def main() -> None:
    """Write them."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    for name, text in generate().items():
        (GENERATED / name).write_text(text)


if __name__ == "__main__":
    main()
