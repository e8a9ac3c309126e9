"""Proofs of infeasibility: accepted by two checkers, from the file alone, and not when damaged."""

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.explain.rup import check_rup
from services.cli import app
from services.formats.cnf import parse


def formula(seed: int, variables: int = 14, ratio: float = 6.5) -> str:
    """A random 3-SAT formula, mostly unsatisfiable, in DIMACS."""
    rng = random.Random(seed)
    clauses = [
        [v * rng.choice((1, -1)) for v in rng.sample(range(1, variables + 1), 3)]
        for _ in range(int(ratio * variables))
    ]
    lines = [f"p cnf {variables} {len(clauses)}", *(f"{a} {b} {c} 0" for a, b, c in clauses)]
    return "\n".join(lines) + "\n"


def proved(text: str, folder: Path) -> str | None:
    """The proof that the command writes about a DIMACS text."""
    (folder / "f.cnf").write_text(text)
    where = folder / "f.drat"
    done = CliRunner().invoke(app, ["ask", str(folder / "f.cnf"), "--json", "--proof", str(where)])
    assert done.exit_code == 0, done.output
    return where.read_text() if where.exists() else None


def accepted(text: str, proof: str) -> bool:
    """By our plain checker, from the numbers of both texts."""
    log: list[int] = []
    for line in proof.splitlines():
        words = line.split()
        literals = [_literal(int(w)) for w in words if w not in ("d", "0")]
        log += [(-1 if words[0] == "d" else 1) * (len(literals) + 1), *literals]
    return check_rup([[_literal(x) for x in clause] for clause in parse(text)[1]], log)


def accepted_elsewhere(text: str, proof: str) -> bool:
    """By the unit propagation of MiniSat (python-sat), which knows nothing of ours."""
    solvers = pytest.importorskip("pysat.solvers")
    with solvers.Minisat22(bootstrap_with=parse(text)[1]) as solver:
        for line in proof.splitlines():
            if line.startswith("d"):
                continue
            clause = [int(word) for word in line.split()[:-1]]
            fits, _ = solver.propagate(assumptions=[-x for x in clause])
            if fits:
                return False
            if not clause:
                return True
            solver.add_clause(clause)
    return False


def _literal(number: int) -> int:
    return 2 * (abs(number) - 1) + (number < 0)


@pytest.mark.parametrize("seed", range(6))
def test_proofs_are_accepted_by_independent_checkers(seed: int, tmp_path) -> None:
    pysat = pytest.importorskip("pysat.solvers")
    text = formula(seed)
    with pysat.Cadical153(bootstrap_with=parse(text)[1]) as solver:
        satisfiable = solver.solve()
    proof = proved(text, tmp_path)
    assert (proof is None) == satisfiable
    if proof is not None:
        assert accepted(text, proof) and accepted_elsewhere(text, proof)


def test_damaged_proofs_are_refused(tmp_path) -> None:
    """Learned clauses left out, a literal turned, another formula: each is seen by both."""
    text = formula(1)
    proof = proved(text, tmp_path)
    assert proof is not None
    lines = [line for line in proof.splitlines() if not line.startswith("d")]
    assert len(lines) > 4 and lines[-1] == "0"
    weaker = text.replace("p cnf 14 91", "p cnf 14 45").splitlines()[:46]
    for formula_text, damaged in (
        (text, ["0"]),  # the empty clause alone
        (text, lines[:-1]),  # without its end
        (text, ["1 0", "-1 0", *lines]),  # clauses that do not follow
        ("\n".join(weaker) + "\n", lines),  # half of the formula
    ):
        written = "\n".join(damaged) + "\n"
        assert not accepted(formula_text, written)
        assert not accepted_elsewhere(formula_text, written)


def test_a_shared_formula_of_fifty_variables(shared_data, tmp_path) -> None:
    import tarfile

    with tarfile.open(shared_data / "sat" / "uuf50-218_shared.tar.gz") as archive:
        member = next(m for m in archive if m.name.endswith(".cnf"))
        text = archive.extractfile(member).read().decode()
    proof = proved(text, tmp_path)
    assert proof is not None and accepted(text, proof) and accepted_elsewhere(text, proof)


@pytest.mark.parametrize(
    "text",
    ["p cnf 0 1\n0\n", "p cnf 2 3\n1 -1 2 0\n2 2 0\n-2 0\n", "p cnf 3 2\n3 0\n-3 0\n"],
    ids=["an empty clause", "a tautology and a literal twice", "units"],
)
def test_odd_formulas(text: str, tmp_path) -> None:
    proof = proved(text, tmp_path)
    assert proof is not None and accepted(text, proof)


def test_what_has_no_proof(tmp_path) -> None:
    assert proved("p cnf 0 0\n", tmp_path) is None
    run = CliRunner().invoke
    query = tmp_path / "q.yaml"
    query.write_text("variables: {x: {values: [1, 2, 3]}}\nterms: []\n")
    done = run(app, ["ask", str(query), "--proof", str(tmp_path / "p")])
    assert done.exit_code == 2 and "clauses over sites of two values" in done.stderr
    cnf = tmp_path / "a.cnf"
    cnf.write_text("p cnf 1 1\n1 0\n")
    done = run(app, ["ask", str(cnf), str(cnf), "--proof", str(tmp_path / "p")])
    assert done.exit_code == 2 and "takes one instance" in done.stderr
    done = run(app, ["ask", str(cnf), "--proof", str(tmp_path / "p")])
    assert done.exit_code == 0 and not (tmp_path / "p").exists() and "not written" in done.stderr
    cnf.write_text("p cnf 1 2\n1 0\n-1 0\n")
    done = run(app, ["ask", str(cnf), "--proof", str(tmp_path / "no" / "p")])
    assert done.exit_code == 2 and "no such file" in done.stderr.lower()
