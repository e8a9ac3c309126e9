"""Holds the .proto files against buf's rules, and against the wire that was agreed on.

`baseline.binpb` is that wire as a set of descriptors; --renew writes it anew from the .proto files,
for a change that is meant to break it. Nothing is asked of a network: buf reads what protoc makes.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from generate import ROOT, compile_protos

RULES = ROOT / "proto" / "buf.yaml"
BASELINE = ROOT / "proto" / "baseline.binpb"


def describe(target: Path, *options: str) -> None:
    """Write the descriptors of the .proto files and of all they import into a file."""
    compile_protos(f"--descriptor_set_out={target}", "--include_imports", *options)


def buf(*arguments: str) -> bool:
    """Whether buf finds nothing; what it finds goes to stdout."""
    command = [str(Path(sys.executable).parent / "buf"), *arguments, "--config", str(RULES)]
    return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    """Check the files, and return 1 where a rule is broken; or renew the baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renew", action="store_true", help="write proto/baseline.binpb anew")
    if parser.parse_args().renew:
        describe(BASELINE)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        describe(image, "--include_source_info")  # comments are a part of it
        good = buf("lint", str(image))
        kept = buf("breaking", str(image), "--against", str(BASELINE))
    if not kept:
        print("if this break is meant: make wire, and say so in the commit", file=sys.stderr)
    return 0 if good and kept else 1


if __name__ == "__main__":
    sys.exit(main())
