"""Rows of many reports in one: as told last, and never changed afterwards."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.rows import Report
from engine.solve.standing import Standing


def told(numbers: list[int]) -> Report:
    """A report whose every column shows these numbers."""
    column = torch.tensor(numbers, dtype=torch.float64)
    return Report(
        {"x": column[:, None]},
        column,
        column + 1,
        column - 1,
        column > 5,
        column.to(torch.int8) % 3,
        tuple(({"x": column[None, k : k + 1]},) for k in range(len(numbers))),
    )


def shown(report: Report) -> list[tuple[float, ...]]:
    """What a report says of each row."""
    columns = (report.energy, report.violation, report.bound, report.done, report.unique)
    (x,) = report.x.values()
    others = [float(o[0]["x"]) for o in report.others]
    return list(zip(x[:, 0].tolist(), *(c.tolist() for c in columns), others, strict=True))


rows = st.integers(1, 5)
moves = st.lists(
    st.tuples(st.lists(st.integers(0, 4), min_size=1, unique=True), st.booleans()), max_size=12
)


@given(count=rows, moves=moves)
def test_rows_stand_where_they_were_told_of_last(count: int, moves: list) -> None:
    numbers = iter(range(100))
    now = [next(numbers) for _ in range(count)]
    first = told(now)
    standing = Standing((first, row) for row in range(count))
    seen = []
    for moved, looked in moves:
        moved = [row for row in moved if row < count]
        report = told([next(numbers) for _ in moved]) if moved else None
        for place, row in enumerate(moved):
            assert report is not None
            standing.take(row, report, place)
            now[row] = int(report.energy[place])
        if looked:
            seen.append((standing.report(), shown(told(now))))
    seen.append((standing.report(), shown(told(now))))
    for got, wanted in seen:
        assert shown(got) == wanted
