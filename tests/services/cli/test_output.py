"""Answers as people and programs read them: what does not fit is left out, and breaks nothing."""

import io
import math

from rich.console import Console

from engine.answer import Answer, Margin, Status
from services.cli.output import line, record, show
from services.formats import Asked
from services.query import query_of

QUERY = {
    "variables": {"x": {"values": [0, 1], "shape": [2]}, "y": {"values": [0, 1], "shape": []}},
    "terms": [{"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": [[0, 1]]}}],
}


def test_margins_that_fit_no_values_are_left_out():
    asked = Asked(query_of(QUERY), "it", (1,), dict)
    good = Margin("y", (0.5,), (math.inf,))
    odd = (
        Margin("x", (1.0,), (1.0,)),
        Margin("x", (1.0, 2.0), (1.0,)),
        Margin("z", (1.0,), (1.0,)),
    )
    answer = Answer(Status.OPTIMAL, {"x": [0, 1], "y": 1}, 0.0, 0.0, margins=(*odd, good))
    assert record(asked, 0, answer)["margins"] == {
        "y": {"low": 0.5, "high": math.inf, "only": False}
    }
    assert '"high": null' in line(asked, 0, answer)
    console = Console(record=True, file=io.StringIO())
    show(console, asked, 0, answer, whole=True)
    assert "least ahead: y by at least 0.5" in console.export_text()
    none = Answer(Status.INFEASIBLE, None, None, None, margins=odd)
    assert record(asked, 0, none)["margins"] == {}
