"""A hosted energy that is read site by site is searched as the same in this process is."""

from typing import Any

import numpy as np
import pytest
import torch

from engine import Finite, Problem, Variable, answers, required
from engine.errors import BadQuery, ModuleFault
from engine.minimizers.beam import Beam
from modules.catalogue import Catalogue
from modules.language.contains import Contains
from modules.language.model.term import LanguageModel
from services.host.readings import Readings
from services.remote.kinds import RemoteKind, RemoteKinds
from services.v1 import module_pb2 as pb
from tests.support.hosting import Running

pytest_plugins = ["tests.support.fixtures", "tests.support.hosting"]

LETTERS = (" ", *"adehilnorstuvw")
SHIPPED = {"weights": "shakespeare.safetensors", "prompt": "HAMLET:\n"}

READ = '''
"""A term that is read, and may be wrong in a way of your choice."""
import numpy as np
import torch

from engine import Term, Variable
from engine.energy.reader import Reader, Windows


class Steps(Reader):
    def __init__(self, how, sites):
        self.how, self.sites = how, torch.tensor([[0, s] for s in range(sites)])
        if how == "twice":
            self.sites[1] = self.sites[0]

    def begin(self, row):
        return torch.full((1, 1), 0)

    def costs(self, s):
        if self.how == "raise":
            raise ValueError("secret text")
        if self.how == "nan":
            return torch.full((len(s), 3), float("nan"))
        last = s[:, -1:]
        out = (torch.arange(3)[None] - last).abs().double() + 0.25 * torch.arange(3)
        return out[:1].expand(len(s) + 1, 3) if self.how == "shape" else out

    def read(self, s, places):
        return torch.cat([s, places[:, None]], 1)

    def picked(self, s, index):
        return s[index]

    def ahead(self, width):
        if self.how != "windows":
            return None
        return Windows(np.zeros((1, width), dtype=np.int64) + 99, np.zeros((3,) * width))


class Climb(Term):
    """E = sum of |x_t - x_(t-1)| + x_t / 4, x_0 = 0."""

    affine = False

    def __init__(self, x: Variable, how: str = ""):
        super().__init__(x)
        self.how = how

    def energy(self, x):
        values = x @ torch.arange(x.shape[-1], dtype=x.dtype)
        before = torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], 1)
        return (values - before).abs().sum(1) + 0.25 * values.sum(1)

    def reader(self, *domains):
        return None if self.how == "none" else Steps(self.how, domains[0].sites)
'''


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    path = tmp_path_factory.mktemp("read") / "read.py"
    path.write_text(READ)
    return Catalogue(also=(f"{path}:Climb",))


def text(count: int) -> Variable:
    return Variable("text", Finite(LETTERS, (count,)))


def hosted(remote: RemoteKinds, count: int, **params: Any) -> Any:
    return remote.kind("language.model").build([text(count)], {**SHIPPED, **params})


def test_answers_are_those_in_process(remote: RemoteKinds) -> None:
    """Rules beside it, evidence on both sides, rows of which some have nothing open."""
    rows = [
        {"text": [None] * 12},
        {"text": [*"the ", *[None] * 6, *"en"]},
        {"text": [*"one is dead "]},
    ]
    for rule in (False, True):
        found = []
        for term in (hosted(remote, 12), LanguageModel(text(12), **SHIPPED)):
            energy = 1.0 * term
            if rule:
                energy = energy + required(Contains(term.scope[0].variable, words=["d"]))
            problem = Problem(energy).given_rows(rows)
            assert Beam().refuses(problem) is None
            found.append(answers(problem, seed=3))
        for there, here in zip(*found, strict=True):
            assert there.values == here.values
            assert there.status == here.status
            assert abs(there.energy - here.energy) < 1e-4


def test_costs_and_guesses_are_those_in_process(remote: RemoteKinds) -> None:
    term, own = hosted(remote, 5), LanguageModel(text(5), **SHIPPED)
    there, here = term.reader(text(5).domain), own.reader(text(5).domain)
    assert torch.equal(there.sites, here.sites)
    rng = torch.Generator().manual_seed(0)
    a, b = there.begin(0), here.begin(0)
    for _ in range(5):
        left, right = there.costs(a), here.costs(b)
        assert torch.allclose(left, right, atol=1e-5)
        index = torch.randint(len(left), (7,), generator=rng)
        places = torch.randint(len(LETTERS), (7,), generator=rng)
        a, b = there.read(there.picked(a, index), places), here.read(here.picked(b, index), places)
    for width in (1, 2, 3):
        one, other = there.ahead(width), here.ahead(width)
        assert (one is None) == (other is None)
        if one is not None:
            assert np.array_equal(one.places, other.places)
            assert np.allclose(one.costs, other.costs, atol=1e-5)


def test_each_beginning_is_read_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where rows take turns; and a host that knows nothing of them answers the same."""
    _, address = running.host()
    kinds = running.kinds(address)
    reads: list[int] = []
    asked = Readings._asked

    def counted(self: Readings, method: str, work: Any) -> Any:
        reads.append(1) if method == "reader.read" else None
        return asked(self, method, work)

    monkeypatch.setattr(Readings, "_asked", counted)
    term = kinds.kind("read.Climb").build([Variable("x", Finite((0, 1, 2), (8,)))], {})
    problem = Problem(1.0 * term).given_rows([{"x": [None] * 7 + [2]}, {"x": [None] * 6 + [1, 2]}])
    first, other = answers(problem, Beam((16,)), seed=1)
    assert (first.energy, other.energy) == (2.5, 2.75)
    assert len(reads) <= 2 * 8
    reader = term.reader(*problem.scope(term))
    again = reader.read(reader.picked(reader.begin(1), torch.tensor([0, 0])), torch.tensor([1, 2]))
    assert reader.costs(again).tolist() == [[1.0, 0.25, 1.5], [2.0, 1.25, 0.5]]
    kinds.close()


@pytest.mark.parametrize("how", ["raise", "nan", "shape", "twice", "windows"])
def test_a_reader_that_is_wrong_is_a_fault(remote: RemoteKinds, how: str) -> None:
    term = remote.kind("read.Climb").build([Variable("x", Finite((0, 1, 2), (9,)))], {"how": how})
    with pytest.raises(ModuleFault, match=r"read\.Climb") as error:
        answers(Problem(1.0 * term))
    assert "secret" not in str(error.value)


def test_a_term_may_have_none(remote: RemoteKinds) -> None:
    x = Variable("x", Finite((0, 1, 2), (3,)))
    term = remote.kind("read.Climb").build([x], {"how": "none"})
    assert term.reader(x.domain) is None
    rule = remote.kind("discrete.all_different").build([x], {"lines": [[0, 1, 2]]})
    assert rule.reader(x.domain) is None


def test_what_makes_no_sense_is_told(remote: RemoteKinds) -> None:
    home = remote.kind("read.Climb")
    assert isinstance(home, RemoteKind)
    term: Any = home.build([Variable("x", Finite((0, 1, 2), (3,)))], {})
    cases = (
        ({"row": 5}, torch.zeros(1, 1), "row"),
        ({}, torch.zeros(1, 3), "beginnings"),
        ({}, torch.full((1, 1), 3), "beginnings"),
        ({}, torch.full((1, 1), -1), "beginnings"),
        ({}, torch.zeros(0, 1), "beginnings"),
        ({}, torch.zeros(4), "beginnings"),
        ({"width": 9}, None, "width"),
    )
    for more, beginnings, path in cases:
        with pytest.raises(BadQuery) as error:
            home.read(term._own, beginnings=beginnings, **more)
        assert error.value.mistakes[0].path == path
    with pytest.raises(BadQuery):  # bytes that are not there
        home.replicas.ask("Read", pb.ReadRequest(binding=term._own.message))
