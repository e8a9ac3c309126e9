"""What a compiler keeps, and what makes it forget."""

import os
import shutil
from pathlib import Path

import pytest

import modules.discrete
from modules.catalogue import Catalogue
from services.query import query_of
from services.reasoner.compile import Compiler, StructureKey

LOANS = Path(modules.discrete.__file__).parent / "tabular" / "loans.safetensors"
KEY = StructureKey("ann", b"1")


@pytest.fixture
def compiler() -> Compiler:
    return Compiler(Catalogue(entry_points=False))


def test_weights_that_are_replaced_are_read_again(compiler: Compiler, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    shutil.copy(LOANS, file)
    query = one_column(file)
    first = compiler.problem(query, KEY)
    assert compiler.known(KEY) is not None
    assert compiler.problem(query, KEY).root is first.root, "kept while the file is the same"
    shutil.copy(LOANS, tmp_path / "new")
    os.replace(tmp_path / "new", file)
    assert compiler.known(KEY) is None
    assert compiler.problem(query, KEY).root is not first.root
    file.unlink()
    assert compiler.known(KEY) is None


def test_what_reads_no_file_is_kept(compiler: Compiler) -> None:
    query = query_of(
        {
            "variables": {"x": {"values": [0, 1], "shape": [2]}},
            "terms": [
                {"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": [[0, 1]]}}
            ],
        }
    )
    compiler.problem(query, KEY)
    known = compiler.known(KEY)
    assert known is not None and known.files == {}
    assert not Catalogue().kind("discrete.clause").files({"clauses": []})


def one_column(weights: Path):
    """A query over all columns of the loans, which the kind asks for."""
    kind = Catalogue().kind("discrete.tabular")
    example = kind.term.example()
    assert example is not None
    variables = {
        v.name: {"values": list(v.domain.values)}
        for v in example.variables()  # type: ignore[attr-defined]
    }
    params = {"weights": str(weights), "columns": None}
    terms = [{"kind": "discrete.tabular", "scope": list(variables), "params": params}]
    return query_of({"variables": variables, "terms": terms})
