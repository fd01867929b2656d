"""Generate the modules of our messages: `python proto/generate.py`, or `make proto`.

They are committed, so that running and installing need no compiler. A test compares them.
`proto/authz/admin/v1/key.proto` becomes `authz/rpc/pb/admin/v1/key_pb2.py`. The messages of the
admin API also become one descriptor set with their comments, for the REST pages and for Envoy's
grpc_json_transcoder.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).parent
OURS = PROTO / "authz"
GENERATED = PROTO.parent / "authz" / "rpc" / "pb"
DESCRIPTORS = "admin/v1/descriptors.binpb"

# The compiler names modules after the packages of the messages. Ours are inside authz.rpc.pb.
_OUR_IMPORT = re.compile(r"^(from|import) authz\.(?=(?:admin|check|usage)\.v1\b)", re.MULTILINE)


def generate() -> dict[str, bytes]:
    """Return the content of each file, by its path below authz/rpc/pb."""
    services = sorted(OURS.joinpath("admin").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        _compile([f"--python_out={out}", f"--pyi_out={out}"], sorted(OURS.rglob("*.proto")))
        _compile([f"--grpc_python_out={out}"], services)
        found = {
            str(path.relative_to(out / "authz")): _imported_from_here(path.read_text()).encode()
            for path in sorted(out.rglob("*.py*"))
            if not path.name.endswith("_pb2_grpc.py") or "Stub:" in path.read_text()
        }
        descriptors = out / "descriptors"
        options = ["--include_imports", "--include_source_info"]
        _compile([f"--descriptor_set_out={descriptors}", *options], services)
        return found | {DESCRIPTORS: descriptors.read_bytes()}


def main() -> None:
    """Write them, and remove those whose messages are gone."""
    found = generate()
    for path in (*GENERATED.rglob("*_pb2*.py*"), *GENERATED.rglob("*.binpb")):
        if str(path.relative_to(GENERATED)) not in found and "__pycache__" not in path.parts:
            path.unlink()
    for name, content in found.items():
        path = GENERATED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _imported_from_here(text: str) -> str:
    return _OUR_IMPORT.sub(r"\1 authz.rpc.pb.", text)


def _compile(options: list[str], files: list[Path]) -> None:
    sources = [str(path.relative_to(PROTO)) for path in files]
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
    subprocess.run([*compiler, *options, *sources], check=True)  # noqa: S603  our own arguments


if __name__ == "__main__":
    main()
