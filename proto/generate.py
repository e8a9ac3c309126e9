"""Generates services/v1 from the .proto files; with --check only says whether it is fresh.

The package on the wire is `basin.v1`, for ever; in Python the code lives in `services.v1`, so its
imports are rewritten. Made with the oldest supported grpcio-tools: newer runtimes accept its code.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (  # where imports are looked for: ours, google/protobuf, google/rpc
    ROOT / "proto",
    Path(grpc_tools.__file__).parent / "_proto",
    Path(status_pb2.__file__).parents[2],
)
TARGET = ROOT / "services" / "v1"
HEAD = '"""Generated from proto/basin/v1 by proto/generate.py; change the .proto files."""\n'


def protos() -> list[Path]:
    """Every .proto file of ours, in order."""
    return sorted((ROOT / "proto" / "basin" / "v1").glob("*.proto"))


def compile_protos(*outputs: str) -> None:
    """Run protoc on all of them; `outputs` say what it makes. Ends the program where it fails."""
    folders = [f"-I{folder}" for folder in FOLDERS]
    if protoc.main(["protoc", *folders, *outputs, *map(str, protos())]):
        raise SystemExit("protoc failed; see above")


def sources() -> dict[str, str]:
    """Every generated file by name, as text."""
    with tempfile.TemporaryDirectory() as folder:
        # the plug-ins for stubs stand beside the interpreter, on the path or not
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        outputs = ["python_out=", "grpc_python_out=", "mypy_out=quiet:", "mypy_grpc_out=quiet:"]
        compile_protos(*(f"--{output}{folder}" for output in outputs))
        made = {path.name: path.read_text() for path in Path(folder, "basin", "v1").iterdir()}
    with_service = {p.stem for p in protos() if re.search(r"^service ", p.read_text(), re.M)}
    kept = {
        name: rewritten(text)
        for name, text in made.items()
        if "_pb2_grpc" not in name or name.split("_pb2_grpc")[0] in with_service
    }
    return {"__init__.py": HEAD} | kept


def rewritten(text: str) -> str:
    """The same code, with `basin.v1` imported from `services.v1`."""
    text = re.sub(r"^(\s*)from basin\.v1 import", r"\1from services.v1 import", text, flags=re.M)
    return re.sub(r"^(\s*)import basin\.v1\.", r"\1import services.v1.", text, flags=re.M)


def stale(made: dict[str, str]) -> list[str]:
    """Names of files that differ from what would be generated."""
    present = {path.name for path in TARGET.glob("*") if path.is_file()}
    differing = {
        name
        for name, text in made.items()
        if name in present and (TARGET / name).read_text() != text
    }
    return sorted(differing | (present ^ set(made)))


def main() -> int:
    """Write the files, or with --check exit 1 when any differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    check = parser.parse_args().check
    made = sources()
    if check:
        names = stale(made)
        for name in names:
            print(f"services/v1/{name} is stale: run python proto/generate.py", file=sys.stderr)
        return 1 if names else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in stale(made):
        (TARGET / name).unlink(missing_ok=True)
    for name, text in made.items():
        (TARGET / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
