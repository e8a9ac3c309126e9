"""Decided states at the doors of terms: places, one-hot states and both, in pieces."""

import pytest
import torch
from torch import Tensor

from engine.domain import Finite, Variable
from engine.energy import Term, soft_min
from engine.energy import term as terms
from engine.random import Stream
from tests.support.costs import ATOMS, Costs, Well, X, Y, Z

EVERY = [*ATOMS, Costs(X) | Costs(X, Y), soft_min(Costs(Y), Well(Z), temperature=0.5)]


def drawn(term: Term, count: int = 7) -> dict[str, Tensor]:
    rng = Stream(3, torch.tensor([3]))
    return {v.name: v.domain.sample(count, rng.fork(k)) for k, v in enumerate(term.variables())}


def relaxed(x: dict[str, Tensor], names) -> dict[str, Tensor]:
    """The same states with one-hot tensors at some of the variables."""
    domains = {"x": X.domain, "y": Y.domain}
    return {n: domains[n].hot(t) if n in names and n in domains else t for n, t in x.items()}


@pytest.mark.parametrize("elements", [2_000_000, 20])
@pytest.mark.parametrize("term", EVERY, ids=str)
def test_places_cost_what_one_hot_states_do(term: Term, elements: int, monkeypatch) -> None:
    monkeypatch.setattr(terms, "ELEMENTS", elements)
    x = drawn(term)
    wanted = term(relaxed(x, "xy"))
    for hot in ("", "x", "y"):
        told = term(relaxed(x, hot))
        assert told.shape == (7,) and torch.allclose(told.double(), wanted.double(), atol=1e-5)
        energy, violation = term.totals(relaxed(x, hot))
        both = term.totals(relaxed(x, "xy"))
        assert torch.allclose(energy, both[0], atol=1e-5)
        assert torch.allclose(violation, both[1], atol=1e-5)
    assert torch.allclose(term.cost(*term.placed(term.views(x))).double(), wanted.double())


def test_a_kind_with_a_cost_of_its_own_is_handed_whole_numbers() -> None:
    seen = []

    class Own(Costs):
        def cost(self, x: Tensor, z: Tensor) -> Tensor:
            seen.append((x.dtype, tuple(x.shape), z.dtype))
            return z.sum(1) + x.flatten(1).sum(1)

        def energy(self, x: Tensor, z: Tensor) -> Tensor:
            raise AssertionError("a decided state has a cost")

    wide = Variable("w", Finite(tuple(range(300)), (2, 2)))
    term = Own.__new__(Own)
    Term.__init__(term, wide[0, :], Z)
    x = drawn(term)
    assert x["w"].dtype == torch.int16
    assert torch.allclose(term(x), x["z"].float().sum(1) + x["w"][:, 0].sum(1))
    assert seen == [(torch.int64, (7, 2), torch.float32)]


def test_the_door_keeps_small_integers_until_a_term_computes() -> None:
    term = Costs(X, Y)
    assert [x.dtype for x in term.views(drawn(term))] == [torch.uint8, torch.uint8]
    assert [x.dtype for x in term.hot(term.views(drawn(term)))] == [torch.float32] * 2


class Hinted(Costs):
    """Proposes its first site at a value, relaxed or decided."""

    def __init__(self, x, value: int, decided: bool):
        super().__init__(x)
        self.value, self.decided = value, decided

    def propose(self, particles: int, rng: Stream, known, *domains):
        (domain,) = domains
        places = torch.full((len(rng.keys) * particles, *domain.shape), self.value)
        return (places if self.decided else domain.hot(places),)


@pytest.mark.parametrize("decided", [True, False])
def test_a_choice_hands_on_proposals_of_both_kinds(decided: bool) -> None:
    either = Hinted(X[0, :], 1, decided) | Hinted(X, 2, decided)
    (domain,) = [X.domain.narrow([[[0, None], [None, None]]])]
    (states,) = either.propose(4, Stream(0, torch.tensor([5])), None, domain)
    assert states.dtype == torch.uint8 and (states[:, 0, 0] == 0).all()
    assert (states[::2, 0, 1] == 1).all() and (states[1::2].flatten(1)[:, 1:] == 2).all()
