"""Answers as pictures: one file each, in shades that are numbers."""

import pytest
import torch

from services.cli.drawn import Drawn, shade
from services.formats import Asked
from services.query import RealSpec, query_of

QUERY = {
    "variables": {"p": {"low": 0, "high": 1, "shape": [2, 2]}},
    "terms": [{"kind": "image.smoothness", "scope": ["p"]}],
}


class Silent:
    """Writes nothing."""

    def write(self, asked, row, answer):
        pass


class Said:
    """What is drawn of an answer."""

    values = {"p": [[0.0, 1.0], [0.5, 0.25]]}  # noqa: RUF012


def test_files_of_one_name_have_pictures_of_their_own(tmp_path):
    drawn = Drawn(tmp_path / "out", Silent())
    for source in ("a/q.json", "b/q.json", "a/q.json", "a/q-1.json", "a/q_1.json", "a/Q.json"):
        for row in range(2):
            drawn.write(Asked(query_of(QUERY), source, (1, 2), dict), row, Said())
    assert len(list((tmp_path / "out").iterdir())) == 10


@pytest.mark.parametrize("edge", [None, 1e308])
def test_shades_of_far_numbers_are_numbers(edge):
    spec = RealSpec(low=edge and -edge, high=edge, shape=(1, 3))
    wanted = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(shade([[-1e308, 0.0, 1e308]], spec), wanted)
