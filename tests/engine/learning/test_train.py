"""Training: resumption to the bit, learners that recover known parameters, planted failures."""

import pytest
import torch

from engine.errors import BadQuery
from engine.learning.examples import Examples, Stored
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood, conditionals
from engine.learning.recipe import Recipe
from engine.learning.train import train
from tests.support.learners import blank, every_state, exact_samples, spins, stream

# ---------------------------------------------------------------- the loop

RECIPE = Recipe(steps=60, batch=16, rate=0.02, every=10, seed=3)


def small_run(work=None, held_out=None, **changes):
    truth = spins(4, 1)
    term = blank(truth)
    examples = Stored({"x": exact_samples(truth, 4, 50, 2)})
    recipe = Recipe(**{**RECIPE.__dict__, **changes})
    trained = train(
        PseudoLikelihood(), {"energy": term}, examples, recipe, work=work, held_out=held_out
    )
    return term.couplings.detach().clone(), trained


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    whole, _ = small_run()
    _, first = small_run(tmp_path, seconds=1e-9)  # stops after one step, in the middle of a pass
    assert first.steps == 1 and first.stopped == "seconds"
    resumed, second = small_run(tmp_path)
    assert second.steps == 60 and torch.equal(resumed, whole)
    again, third = small_run(tmp_path)  # nothing left to do
    assert third.steps == 60 and torch.equal(again, whole)


def test_another_run_is_never_resumed(tmp_path):
    small_run(tmp_path)
    with pytest.raises(BadQuery, match="other recipe"):
        small_run(tmp_path, rate=0.03)


@pytest.mark.parametrize("goal", [0.0, 0.3, 9.0])
def test_patience_ends_a_run_with_the_weights_of_the_best_look(tmp_path, goal):
    looks = []

    def figure(nets) -> float:
        couplings = nets["energy"].couplings.detach()
        looks.append((abs(float(couplings.norm()) - goal), couplings.clone()))
        return looks[-1][0]

    kept, trained = small_run(held_out=figure, steps=200, every=5, patience=3)
    places = [f for f, _ in looks]
    best = places.index(min(places))
    assert torch.equal(kept, looks[best][1]) and trained.kept == 5 * best
    if trained.stopped == "patience":
        assert len(looks) == best + 4 and trained.steps == 5 * (len(looks) - 1)
    assert (trained.stopped == "patience") == (goal < 9)
    assert (best == 0) == (goal == 0)
    small_run(tmp_path, figure, steps=200, every=5, patience=3, seconds=1e-9)
    resumed, rest = small_run(tmp_path, figure, steps=200, every=5, patience=3)
    assert torch.equal(resumed, kept) and rest.steps == trained.steps
    again, rest = small_run(tmp_path, figure, steps=200, every=5, patience=3)
    assert torch.equal(again, kept) and rest.steps == trained.steps


def test_seeds_decide_everything():
    assert torch.equal(small_run()[0], small_run()[0])
    assert not torch.equal(small_run()[0], small_run(seed=4)[0])


def test_every_pass_takes_each_example_once():
    examples: Examples = Stored({"x": torch.arange(10.0)})
    taken = [examples.batch(4, step, stream())["x"] for step in range(5)]
    first, second = torch.cat(taken).split(10)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()


# ---------------------------------------------------------------- pseudo-likelihood


def test_conditionals_are_those_of_the_enumerated_distribution():
    term = spins(4, 5)
    x = every_state(4)
    logs = conditionals(term, {"x": x})["x"]
    energy = term.energy(x)
    for i in range(4):
        flipped = x.clone()
        flipped[:, i] = x[:, i].flip(-1)
        other = term.energy(flipped)
        expected = torch.log_softmax(torch.stack([-energy, -other], -1), -1)[:, 0]
        assert torch.allclose((logs[:, i] * x[:, i]).sum(-1), expected, atol=1e-5)


def test_pseudo_likelihood_recovers_couplings():
    truth = spins(5, 7)
    term = blank(truth)
    examples = Stored({"x": exact_samples(truth, 5, 20_000, 1)})
    train(PseudoLikelihood(), {"energy": term}, examples, Recipe(steps=400, batch=500, rate=0.05))
    error = (term.couplings - truth.couplings).triu(1).square().mean().sqrt()
    assert error < 0.05 < truth.couplings.square().mean().sqrt()
    assert (term.field - truth.field).square().mean().sqrt() < 0.05
