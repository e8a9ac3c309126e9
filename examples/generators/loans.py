"""A table of loans drawn from a known law, to hold what is learned against the truth."""

import csv
import io
import math
import random
from typing import Any

from modules.discrete.tabular.model import load_model

WEIGHTS = "loans.safetensors"

HEADER = ("age", "job", "income", "debt", "late", "month", "repaid")
JOBS = ("student", "worker", "clerk", "engineer", "retired")
PAY = {"student": 9.0, "worker": 28.0, "clerk": 33.0, "engineer": 52.0, "retired": 21.0}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
BLANK = 0.03  # share of jobs that nobody wrote down


def chance_repaid(income: float, debt: float, late: int) -> float:
    """The law: ln(p / (1 - p)) = 1 + (income - debt) / 12 - 1.2 late."""
    return 1 / (1 + math.exp(-(1 + (income - debt) / 12 - 1.2 * late)))


def loan(rng: random.Random) -> dict[str, str]:
    """One row."""
    age = min(80, max(18, round(rng.gauss(42, 15))))
    if age < 24:
        job = rng.choice(("student", "student", "worker", "clerk"))
    else:
        job = "retired" if age > 64 else rng.choice(("worker", "worker", "clerk", "engineer"))
    income = round(PAY[job] * math.exp(rng.gauss(0, 0.25)), 1)
    debt = round(rng.expovariate(1 / 18), 1)
    late = min(3, int(rng.expovariate(1.4)))
    repaid = rng.random() < chance_repaid(income, debt, late)
    written = "" if rng.random() < BLANK else job
    cells = (age, written, income, debt, late, rng.choice(MONTHS), "yes" if repaid else "no")
    return dict(zip(HEADER, map(str, cells), strict=True))


def loans(seed: int, rows: int) -> list[dict[str, str]]:
    """Rows that are independent of each other."""
    rng = random.Random(f"loans {seed}")
    return [loan(rng) for _ in range(rows)]


def table_of(rows: list[dict[str, str]]) -> str:
    """Rows as a CSV text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def open_table(seed: int) -> str:
    """Six loans that some cells are asked of."""
    rows = loans(seed, 6)
    for k, column in enumerate(("repaid", "job", "income", "late", "repaid", "month")):
        rows[k][column] = ""
    rows[4]["debt"] = ""
    return table_of(rows)


def loan_query() -> dict[str, Any]:
    """A learned energy, evidence on a real variable, and a rule that the data never showed."""
    columns = {c.name: c for c in load_model(WEIGHTS).schema.modelled}
    variables: dict[str, Any] = {n: {"values": list(c.plain)} for n, c in columns.items()}
    variables["age"] = {"low": 18, "high": 80}
    dear = [value for value in columns["debt"].plain if value > 20]
    rule = [[[0, value, False]] for value in dear]
    return {
        "variables": variables,
        "terms": [
            {
                "kind": "discrete.tabular",
                "scope": list(variables),
                "params": {"weights": WEIGHTS},
            },
            {
                "kind": "discrete.clause",
                "scope": ["debt"],
                "name": "debt at most 20",
                "params": {"clauses": rule},
            },
        ],
        "evidence": {"age": 41.5, "month": "may", "repaid": "no"},
    }
