"""What is wrong with the parameters of a kind, in words and with its place."""

import re

import pytest

from engine.errors import BadQuery
from modules.catalogue import Catalogue


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (-1, ["params.noise: -1 is out of range"]),
        ([0.1, -1], ["params.noise[1]: -1 is out of range"]),
        ("abc", ["params.noise: 'abc' is no number", "params.noise: 'abc' is no list"]),
    ],
)
def test_of_a_value_of_several_forms_the_place_alone_is_told(noise, said):
    with pytest.raises(BadQuery) as raised:
        Catalogue(entry_points=False).kind("image.observation").check({"noise": noise})
    told = [f"{m.path}: {m.problem}" for m in raised.value.mistakes]
    assert told == said


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"rules": [{"terms": [[0, 1, 1]], "compare": "<=", "constant": 1, "gard": [[1, 1]]}]},
            "params.rules[0].gard: unknown field, with the value [[1, 1]]; did you mean guard?",
        ),
        (
            {"terms": [[0, 1]], "compare": "<=", "constant": 1},
            "params.terms[0]: [0, 1] has 2 entries; give at least 3",
        ),
    ],
)
def test_a_misspelled_name_and_a_missing_entry_deep_within_are_told_with_what_to_write(
    params, said
):
    with pytest.raises(BadQuery, match=re.escape(said)):
        Catalogue(entry_points=False).kind("discrete.linear").check(params)
