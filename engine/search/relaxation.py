"""The linear relaxation of an integer program, solved again and again by HiGHS from where it stood.

HiGHS is only asked where to look: points, duals and directions. What they prove is said by
`engine.search.safe` in whole numbers.

Source: Huangfu and Hall, "Parallelizing the dual revised simplex method", Mathematical
Programming Computation 2018.
"""

from typing import Any, NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.program import OPEN, Program, Rows

INFINITE = 1e30  # from here on HiGHS takes an edge for none
LARGEST = 1 << 20  # coefficient that it is handed: larger ones are divided by a power of 2, with
# their row, as it refuses 1e15


class Point(NamedTuple):
    """What one call of the linear solver came to."""

    state: int  # SOLVED, EMPTY, STOPPED by the limit, or LOST: the solver came to nothing
    x: Floats  # (n,)
    duals: Floats  # (m,) of the rows, or a direction that says that no x meets them
    iterations: int


SOLVED, EMPTY, STOPPED, LOST = range(4)


class Relaxation:
    """A linear solver that holds one program, with the basis of its last call."""

    def __init__(self, program: Program):
        self.solver, self.unit = _solver(), _unit(program)
        self._load(program)

    def resume(self, program: Program, basis: Any) -> None:
        """The state of some earlier moment: this program, and where the last call ended."""
        if program is not self.program:
            self._load(program)
        if basis is not None:
            self.solver.setBasis(basis)

    @property
    def basis(self) -> Any:
        """Where the last call ended, to resume from."""
        return self.solver.getBasis()

    def _load(self, program: Program) -> None:
        import highspy

        self.program = program
        self.every = np.arange(program.columns, dtype=np.int32)
        self.parts = _parts(program.rows)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = program.columns, program.rows.count
        model.col_cost_ = (program.cost / self.unit).astype(np.float64)
        model.col_lower_ = np.zeros(program.columns)
        model.col_upper_ = program.top.astype(np.float64)
        low, high = _edges(program.rows, self.parts)
        model.row_lower_, model.row_upper_ = low, high
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = program.rows.ptr.astype(np.int32)
        model.a_matrix_.index_ = program.rows.col.astype(np.int32)
        model.a_matrix_.value_ = program.rows.coef / self.parts[program.rows.owner]
        self.solver.passModel(model)

    def extend(self, program: Program, rows: Rows) -> None:
        """The same program with more rows behind the others."""
        self.program, parts = program, _parts(rows)
        self.parts = np.concatenate([self.parts, parts])
        low, high = _edges(rows, parts)
        self.solver.addRows(
            rows.count,
            low,
            high,
            len(rows.col),
            rows.ptr[:-1].astype(np.int32),
            rows.col.astype(np.int32),
            rows.coef / parts[rows.owner],
        )

    def solve(self, lo: Ints, hi: Ints, iterations: int, upper: float = INFINITE) -> Point:
        """Within a box, in at most so many steps of the simplex method, given up where nothing
        costs less than `upper`. lo, hi: (n,)"""
        import highspy

        solver = self.solver
        solver.changeColsBounds(len(self.every), self.every, lo.astype(float), hi.astype(float))
        solver.setOptionValue("simplex_iteration_limit", int(iterations))
        solver.setOptionValue("objective_bound", float(min(upper / self.unit, INFINITE)))
        solver.run()
        status, info = solver.getModelStatus(), solver.getInfo()
        spent = max(1, int(info.simplex_iteration_count)) if info.valid else 1
        if status == highspy.HighsModelStatus.kInfeasible:
            return Point(EMPTY, np.zeros(0), self._ray(), spent)
        found = solver.getSolution()
        x, duals = np.array(found.col_value), np.array(found.row_dual)
        if len(duals) != self.program.rows.count:
            duals = np.zeros(self.program.rows.count)
        duals = duals * self.unit / self.parts
        if status in _solved():
            return Point(SOLVED, x, duals, spent)
        limit = status == highspy.HighsModelStatus.kIterationLimit
        return Point(STOPPED if limit else LOST, x, duals, spent)

    def mended(self, reduced: Floats) -> Floats:
        """What the duals of the last basis lack: by so much they have to grow for the reduced costs
        (n,) of its columns to be 0. -> (m,), zeros where nothing is told"""
        none = np.zeros(self.program.rows.count)
        status, basic = self.solver.getBasicVariables()
        if status != type(status).kOk or len(basic) != len(none):
            return none
        wanted = np.where(basic >= 0, reduced[np.maximum(basic, 0)], 0.0)
        size = float(np.abs(wanted).max(initial=0.0))  # it takes what is very small for 0
        if size == 0:
            return none
        status, found = self.solver.getBasisTransposeSolve(wanted / size)
        if status != type(status).kOk:
            return none
        return np.array(found) * size / self.parts

    def _ray(self) -> Floats:
        """A direction of the duals along which the bound grows without end; zeros: none is told."""
        _, told = self.solver.getDualRayExist()
        if not told:
            return np.zeros(self.program.rows.count)
        _, _, ray = self.solver.getDualRay()
        return np.array(ray) / self.parts


def _solved() -> tuple[Any, ...]:
    import highspy

    told = highspy.HighsModelStatus
    return told.kOptimal, told.kObjectiveBound, told.kModelEmpty


def available() -> bool:
    """HiGHS is installed."""
    from importlib.util import find_spec

    return find_spec("highspy") is not None


def _solver() -> Any:
    import highspy

    solver = highspy.Highs()
    for name, value in (
        ("log_to_console", False),
        ("output_flag", False),
        ("threads", 1),
        ("presolve", "off"),
        ("solver", "simplex"),
        ("random_seed", 0),
    ):
        solver.setOptionValue(name, value)
    return solver


def _unit(program: Program) -> float:
    """What costs are divided by, so that the largest is about 1000."""
    largest = float(np.abs(program.cost.astype(np.float64)).max(initial=0.0))
    return max(1.0, largest / 1000.0)


def _parts(rows: Rows) -> Floats:
    """What each row is divided by, so that no coefficient is above LARGEST: powers of 2. -> (m,)"""
    largest = np.full(rows.count, float(LARGEST))
    np.maximum.at(largest, rows.owner, np.abs(rows.coef.astype(np.float64)))
    return np.exp2(np.ceil(np.log2(largest / LARGEST)))


def _edges(rows: Rows, parts: Floats) -> tuple[Floats, Floats]:
    low = np.where(rows.low == -OPEN, -np.inf, rows.low / parts)
    high = np.where(rows.high == OPEN, np.inf, rows.high / parts)
    return low, high
