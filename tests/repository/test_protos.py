"""The protos and what is generated from them."""

import shutil
import subprocess
import sys

from services.v1 import module_pb2, query_pb2, reasoner_pb2, tensor_pb2, value_pb2
from tests.support.paths import ROOT

# --- the generated code -----------------------------------------------------------------------


def test_generated_code_is_fresh():
    command = [sys.executable, str(ROOT / "proto" / "generate.py"), "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_a_touched_a_missing_and_a_foreign_generated_file_are_noticed(tmp_path):
    folder = tmp_path / "services" / "v1"
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "services" / "v1", folder)
    command = [sys.executable, str(tmp_path / "proto" / "generate.py")]
    (folder / "value_pb2.py").write_text("# touched")
    (folder / "query_pb2.pyi").unlink()
    (folder / "old_pb2.py").write_text("# left over")
    check = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert [line.split()[0].rpartition("/")[2] for line in check.stderr.splitlines()] == [
        "old_pb2.py", "query_pb2.pyi", "value_pb2.py",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    subprocess.run([*command, "--check"], check=True)


def test_proto_follows_the_rules_of_buf():
    """The part of buf's STANDARD that is easily broken: suffixes, prefixes, unique messages."""
    files = [module_pb2.DESCRIPTOR, reasoner_pb2.DESCRIPTOR, query_pb2.DESCRIPTOR,
             tensor_pb2.DESCRIPTOR, value_pb2.DESCRIPTOR]  # fmt: skip
    used = set()
    for file in files:
        assert (file.package, file.name.rpartition("/")[0]) == ("basin.v1", "basin/v1")
        for service in file.services_by_name.values():
            assert service.name.endswith("Service")
            for method in service.methods:
                pair = {method.input_type.name, method.output_type.name}
                assert pair == {f"{method.name}Request", f"{method.name}Response"}
                assert not pair & used
                used |= pair
        for enum in file.enum_types_by_name.values():
            prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name)[1:]
            assert enum.values[0].name == f"{prefix}_UNSPECIFIED"
            assert all(value.name.startswith(f"{prefix}_") for value in enum.values)
