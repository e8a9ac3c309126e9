"""What is wrong with the parameters of a kind, in words and with its place."""

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
