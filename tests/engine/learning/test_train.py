"""Training: resumption to the bit, learners that recover known parameters, planted failures."""

from dataclasses import replace

import pytest
import torch

from engine.errors import BadQuery
from engine.learning.examples import Examples, Stored
from engine.learning.naming import Named
from engine.learning.objectives.erasure import Erasure
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood, conditionals
from engine.learning.objectives.pseudo_spherical import PseudoSpherical
from engine.learning.optimizers import AdamW
from engine.learning.recipe import Recipe
from engine.learning.train import train
from tests.support.learners import blank, every_state, exact_samples, spins, stream

# ---------------------------------------------------------------- the loop

PLAIN = PseudoLikelihood()
RECIPE = Recipe(steps=60, batch=16, rate=0.02, every=10, seed=3)


def small_run(work=None, held_out=None, objective=PLAIN, **changes):
    truth = spins(4, 1)
    term = blank(truth)
    examples = Stored({"x": exact_samples(truth, 4, 50, 2)})
    recipe = Recipe(**{**RECIPE.__dict__, **changes})
    trained = train(objective, {"energy": term}, examples, recipe, work=work, held_out=held_out)
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


@pytest.mark.parametrize(
    ("objective", "changes", "said"),
    [
        (PseudoLikelihood(clip=1.0), {}, r"other objective\.clip \(None, now 1\.0\)"),
        (PseudoLikelihood(sites=2), {}, r"other objective\.sites \(None, now 2\)"),
        (Erasure(), {}, r"other objective \(.*PseudoLikelihood, now .*Erasure\)"),
        (PseudoLikelihood(), {"seed": 4}, r"other recipe\.seed \(3, now 4\)"),
        (PseudoLikelihood(), {"steps": 61}, r"other recipe\.steps"),
        (PseudoLikelihood(), {"optimizers": {"energy": AdamW(0.02)}}, r"other recipe\.optimizers"),
    ],
)
def test_what_differs_from_the_run_is_told(tmp_path, objective, changes, said):
    small_run(tmp_path, seconds=1e-9)
    with pytest.raises(BadQuery, match=said) as caught:
        small_run(tmp_path, objective=objective, **changes)
    assert caught.value.mistakes[0].path == "work" and caught.value.mistakes[0].remedy
    small_run(tmp_path, every=20, seconds=None)  # how often it looks is no part of the run


def test_a_function_without_a_name_is_told_before_training(tmp_path):
    objective = PseudoSpherical(lambda: {"x": every_state(4)}, 0.5)
    with pytest.raises(BadQuery, match=r"objective\.states: .*lambda.* give Named"):
        small_run(tmp_path, objective=objective)
    small_run(objective=objective, steps=2)  # nothing is kept, nothing needs a name
    named = replace(objective, states=Named("all of 4 bits", objective.states))
    whole, _ = small_run(objective=named)
    small_run(tmp_path, objective=named, seconds=1e-9)
    other = replace(named, states=Named("all of 4 bits", lambda: {"x": every_state(4)}))
    resumed, _ = small_run(tmp_path, objective=other)
    assert torch.equal(whole, resumed)
    with pytest.raises(BadQuery, match=r"objective\.states\.name \('all of 4 bits', now 'some'\)"):
        small_run(tmp_path, objective=replace(named, states=Named("some", objective.states)))


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
