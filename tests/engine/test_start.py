"""Starting points that terms propose: the law of shares, evidence, views, and the contract kit."""

import pytest
import torch

from engine import Budget, Finite, Problem, Real, Term, Variable
from engine.energy import Sum
from engine.minimizers.descent import Descent
from engine.minimizers.restarts import Restarts
from engine.moves.start import Start
from engine.random import Stream
from engine.session import Session
from engine.solve import solve
from engine.testing import check_term


class Hinted(Term):
    """The square of the distance to 0.25, and a proposal near it."""

    def __init__(self, x, hint: float = 0.25):
        super().__init__(x)
        self.hint = hint

    def energy(self, x):
        return ((x - 0.25) ** 2).flatten(1).sum(-1)

    def propose(self, particles, rng, known, domain):
        noise = rng.normal(particles, *domain.event)
        return (self.hint + 1e-3 * noise,)


class Chosen(Term):
    """Proposes the last value of every site of its view."""

    def energy(self, x):
        return x[..., 0].flatten(1).sum(-1)

    def propose(self, particles, rng, known, domain):
        hot = torch.zeros(domain.event)
        hot[..., -1] = 1
        return (hot.expand(len(rng.keys) * particles, *domain.event),)


def start(problem: Problem, particles: int = 6, seed: int = 3) -> Start:
    return Start(problem, particles, Stream(seed, problem.keys), {})


def test_shares_of_the_particles() -> None:
    """With n proposing terms, particle p takes the proposal of term p mod (n + 1)."""
    x = Variable("x", Real((2,), -1.0, 1.0))
    two = Problem(Sum(*Hinted(x, 0.25).summands(), *Hinted(x, 5.0).summands()))
    got = start(two.given_rows([{}, {"x": [0.5, None]}]))["x"].reshape(2, 6, 2)
    assert torch.allclose(got[0, [0, 3]], torch.tensor(0.25).double(), atol=0.01)
    assert torch.equal(got[:, [1, 4], 1], torch.ones(2, 2).double())  # 5.0, projected into the box
    assert (got[1, :, 0] == 0.5).all()  # evidence holds against every proposal
    plain = start(Problem(Sum(*Hinted(x).summands())).given_rows([{}, {"x": [0.5, None]}]))
    alone = plain.problem.select([0])
    drawn = alone.sample("x", 6, Stream(3, alone.keys).fork(0))
    assert torch.equal(got[0, [2, 5]], drawn[[2, 5]])  # the last share is what it was


class Guess:
    """Proposes a number for x, or where the last answer stood, and remembers what it was told."""

    def __init__(self, number: float | None):
        self.number, self.asked = number, 0

    def propose(self, problem, particles, rng, known):
        self.asked += 1
        if self.number is None:
            return None if known is None else {"x": known["x"].repeat_interleave(particles, 0)}
        return {"x": torch.full((problem.rows * particles, 2), self.number)}


def test_proposers_come_before_terms_and_random_last() -> None:
    x = Variable("x", Real((2,), -1.0, 1.0))
    problem = Problem(Sum(*Hinted(x, 0.25).summands())).given_rows([{}, {"x": [0.5, None]}])
    guess, silent = Guess(-0.5), Guess(None)
    rng, known = Stream(3, problem.keys), {"x": torch.full((2, 2), 0.75)}
    got = Start(problem, 6, rng, {}, [guess, silent])["x"].reshape(2, 6, 2)
    assert (got[:, [0, 3], 1] == -0.5).all() and (got[1, :, 0] == 0.5).all()
    assert torch.allclose(got[:, [1, 4], 1], torch.tensor(0.25).double(), atol=0.01)
    assert guess.asked == silent.asked == 1
    got = Start(problem, 6, rng, {}, [guess, silent], known)["x"].reshape(2, 6, 2)
    assert (got[:, [0, 4], 1] == -0.5).all() and (got[:, [1, 5], 1] == 0.75).all()
    alone = Start(problem, 6, rng, {}, [guess, silent], known).select([1])["x"]
    assert torch.equal(alone, got[1])


def test_terms_and_proposers_hear_where_the_last_answer_stood() -> None:
    """At restarts and in sessions, too."""
    heard = []

    class Shift(Hinted):
        def propose(self, particles, rng, known, domain):
            heard.append(known)
            return

    x = Variable("x", Real((3,), -1.0, 1.0))
    problem = Problem(1.0 * Shift(x[1:]) + 1.0 * Hinted(x, 0.9))
    guess = Guess(None)
    session = Session(problem, minimizer=Restarts(Descent(), starts=2), particles=2, starts=[guess])
    session.answer()
    assert heard[0] is None and heard[-1] is not None  # the restart
    assert tuple(heard[-1][0].shape) == (1, 2)
    asked = guess.asked
    session.given({"x": [0.5, None, None]})
    session.answer()
    assert guess.asked > asked
    assert torch.allclose(heard[-1][0], torch.tensor(0.25).double(), atol=0.05)


def test_rows_do_not_depend_on_their_batch() -> None:
    x = Variable("x", Real((2,), -1.0, 1.0))
    problem = Problem(Hinted(x)).given_rows([{}, {"x": [0.5, None]}, {"x": [None, 0.1]}])
    together = start(problem)["x"].reshape(3, 6, 2)
    for row in range(3):
        assert torch.equal(start(problem.select([row]))["x"], together[row])


def test_views_fill_their_sites_only() -> None:
    grid = Variable("grid", Finite((1, 2, 3), (2, 3)))
    got = start(Problem(Chosen(grid[1, :])).given(grid=[[None] * 3, [None, 1, None]]))["grid"]
    assert got.dtype == torch.uint8
    places = got.reshape(3, 2, 2, 3)  # (n, share, row, column)
    assert (places[:, 0, 1] == torch.tensor([2, 0, 2])).all()
    assert len({tuple(p.tolist()) for p in places[:, 0, 0]}) > 1  # the other sites stay random


def test_a_good_proposal_is_where_the_search_starts() -> None:
    x = Variable("x", Real((20,), -1.0, 1.0))
    problem = Problem(Hinted(x))
    first = next(iter(solve(problem, Descent(), particles=2, budget=Budget(steps=1))))
    assert float(first.report.energy) < 1e-3


def test_the_kit_tells_wrong_proposals() -> None:
    x = Variable("x", Real((2,), -1.0, 1.0))
    check_term(Hinted(x))

    class Shapeless(Hinted):
        def propose(self, particles, rng, known, domain):
            return (torch.zeros(particles, 2),)

    class Crossed(Hinted):
        def propose(self, particles, rng, known, domain):
            rows = len(rng.keys) * particles
            return (torch.arange(rows * 2.0).reshape(rows, 2),)

    class Endless(Hinted):
        def propose(self, particles, rng, known, domain):
            return (torch.full((len(rng.keys) * particles, 2), torch.inf),)

    for broken, said in ((Shapeless, "shape"), (Crossed, "another batch"), (Endless, "finite")):
        with pytest.raises(AssertionError, match=said):
            check_term(broken(x))
