"""Numbers and cages in pictures, hosted: the answers are those of the same kinds in process."""

import numpy as np
import pytest

from examples.boards import text_picture
from modules.catalogue import Catalogue
from modules.image._boards.reading import WEIGHTS
from modules.image._boards.strips import HIGH, strip_of
from services.query import Query, query_of
from services.reasoner.reason import Reasoner
from tests.support.hosting import Running

WIDE = 96


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(entry_points=False)


def strips(texts: list[str], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = [strip_of(np.pad(text_picture(text, 36, rng), 4), WIDE) for text in texts]
    return np.stack([strip for strip in made if strip is not None])


def told(rows: list[list[str]], terms: list[dict[str, object]]) -> Query:
    """A Latin square of 3 x 3 beside pictures; the last row lacks one, another all."""
    pictures = [strips(texts, seed) for seed, texts in enumerate(rows)]
    lines = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8]]
    rule = {"kind": "discrete.all_different", "scope": ["grid"], "params": {"lines": lines}}
    evidence = [{"pictures": x} for x in pictures]
    evidence += [{"pictures": [None, *pictures[0].tolist()[1:]]}, {}]
    return query_of(
        {
            "variables": {"grid": {"values": [1, 2, 3], "shape": [3, 3]}},
            "inputs": {"pictures": {"shape": [*pictures[0].shape], "low": 0.0, "high": 1.0}},
            "terms": [rule, *terms],
            "evidence": evidence,
        }
    )


CAGES = {"cages": [[0, 1], [2, 5], [3, 4, 6], [7], [8]], "weights": WEIGHTS}
TEXTS = ["3+", "2/", "18x", "3", "2"]
QUERIES = {
    "numeral": (
        [["1", "2", "3"], ["3", "1", "2"]],
        {
            "kind": "image.numeral",
            "scope": ["pictures", "grid[1, :]"],
            "params": {"weights": WEIGHTS},
        },
    ),
    "within": (
        [["1", "2", "3"], ["3", "1", "2"]],
        {
            "kind": "image.numeral",
            "scope": ["pictures", "grid[1, :]"],
            "params": {"weights": WEIGHTS, "within": 30.0},
        },
    ),
    "cage": (
        [TEXTS, ["4+", "3/", "12x", "1", "3"]],
        {"kind": "image.cage", "scope": ["pictures", "grid"], "required": False, "params": CAGES},
    ),
    "unlike": (
        [TEXTS, TEXTS],
        {
            "kind": "image.cage",
            "scope": ["pictures", "grid"],
            "required": False,
            "params": {**CAGES, "unlike": TEXTS},
        },
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_hosted_is_as_in_process(running: Running, name: str) -> None:
    rows, term = QUERIES[name]
    query = told(rows, [term])
    assert query.inputs["pictures"].shape[1:] == (HIGH, WIDE)
    _, address = running.host()
    kinds = running.kinds(address)
    found = Reasoner(kinds).reason(query)
    own = Reasoner(running.catalogue).reason(query)
    assert [a.status for a in found] == [a.status for a in own] == ["OPTIMAL"] * len(own)
    assert [a.energy for a in found] == pytest.approx([a.energy for a in own])
    alone = [Reasoner(kinds).reason(query.changed(evidence=[e]))[0] for e in query.evidence]
    assert [a.energy for a in alone] == pytest.approx([a.energy for a in own])
    kinds.close()
