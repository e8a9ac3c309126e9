"""The contract of a term, for every term of ours and of users."""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.domain import Domain, Finite, State, Variable, is_decided
from engine.energy import Term, plain_scope
from engine.energy.blame import OTHER_NUMBERS, said
from engine.judgement import score_plain
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.problem import Problem
from engine.random import Stream
from engine.sampling.draw import samples
from engine.solve import Budget, solve
from engine.testing.acceptance import check_acceptance
from engine.testing.changes import check_fewest_changes
from engine.testing.cheapest import check_cheapest
from engine.testing.elsewhere import Mixed, elsewhere
from engine.testing.factors import count_completions, evaluate_factors
from engine.testing.inputs import check_rows_beside, rows_beside
from engine.testing.marginals import check_marginals
from engine.testing.numbers import NEAR, all_near, first_of, near
from engine.testing.parts import check_parts, clean
from engine.testing.states import every_state

SLOPE = 1e-4  # relative; differences in float64
COARSE = 1e-2  # relative; differences in float32
CHANGED = 8  # sites of a scope entry, or twice as many, that are set to each of their values


def check_term(term: Term, *, samples: int = 32, seed: int = 0) -> None:
    """All laws of a term, at random states of the base domains of its variables.

    Shape and rows, purity, gradient, affinity, floor, proposals, chances, the dtype it is handed,
    the device it is on, the cost of decided states, what changes of single sites do to it, and
    violation by part;
    of a rule also that the energy, and every part of it, is zero exactly where it holds, that it
    explains itself, that its structure agrees, and that the fewest changes and the cheapest states
    it names are. A term with inputs is checked beside random rows of them, and with rows side by
    side.
    """
    if any(view.told for view in term.scope):
        check_rows_beside(term, seed)
        for beside in rows_beside(term, seed):
            check_term(beside, samples=samples, seed=seed)
        return
    draws = _Draws(term, seed)
    relaxed = draws.relaxed(samples)
    decided = draws.decided(samples)
    for state in (relaxed, decided):
        _check_shape(term, draws.tensors(state))
        _check_purity(term, draws.tensors(state))
        _check_rows(term, draws.tensors(state))
    _check_gradient(term, draws.tensors(relaxed))
    _check_residual(term, draws.tensors(relaxed))
    for state in (relaxed, decided):
        check_parts(term, draws.tensors(state))
    if term.affine:
        _check_affine(term, draws)
    _check_cost(term, draws, decided)
    _check_changes(term, draws, decided)
    _check_elsewhere(term, draws, relaxed, decided)
    states = draws.every() or decided
    _check_floor(term, draws.tensors(states))
    _check_verdicts(term, draws, states)
    _check_factors(term, draws, states)
    _check_proposals(term, seed)
    check_acceptance(term, decided)
    check_marginals(term, seed)
    check_fewest_changes(term, seed)
    check_cheapest(term, seed)
    _check_doors(term, draws, states)


class _Draws:
    """Random states of a term's variables."""

    def __init__(self, term: Term, seed: int):
        self.term = term
        self.variables: dict[str, Variable] = {v.name: v for v in term.variables()}
        self.rng = Stream(seed, torch.tensor([seed]))

    def decided(self, samples: int) -> dict[str, Tensor]:
        """Random definite states. -> {name: (samples, *shape)}"""
        return {
            v.name: v.domain.sample(samples, self.rng.fork(k))
            for k, v in enumerate(self.variables.values())
        }

    def relaxed(self, samples: int, step: int = 1) -> dict[str, Tensor]:
        """Random states with distributions at finite sites, none of them at an edge."""
        rng = self.rng.at(step)
        out = {}
        for k, v in enumerate(self.variables.values()):
            if isinstance(v.domain, Finite):
                noise = rng.fork(2 * k + 1).normal(samples, *v.domain.event)
                out[v.name] = noise.masked_fill(~v.domain.allowed, -torch.inf).softmax(-1)
            else:
                out[v.name] = v.domain.sample(samples, rng.fork(2 * k))
        return out

    def every(self) -> dict[str, Tensor] | None:
        """All definite states where they are few; None where there are more."""
        return every_state({name: v.domain for name, v in self.variables.items()})

    def tensors(self, state: State) -> list[Tensor]:
        """The tensors of the scope, one-hot where they are decided."""
        return self.term.hot(self.term.views(state))

    def placed(self, state: State) -> list[Tensor]:
        """The tensors of the scope in decided states, places where it is finite."""
        return self.term.placed(self.term.views(state))

    def plain(self, state: State, row: int) -> list[Any]:
        """The plain values of the scope."""
        values = {n: v.domain.decode(state[n][row : row + 1])[0] for n, v in self.variables.items()}
        return plain_scope(self.term, values)


def _energy(term: Term, tensors: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        return term.energy(*tensors)


def _cost(term: Term, placed: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        return term.cost(*placed)


def _check_shape(term: Term, tensors: Sequence[Tensor]) -> None:
    batch = tensors[0].shape[0]
    try:
        energy = _energy(term, tensors)
    except RuntimeError as error:
        told = said(error)
        assert OTHER_NUMBERS not in told, f"{term.label}: energy raised {told}"
        raise
    assert isinstance(energy, Tensor), f"{term.label}: energy gives {type(energy)}, not a tensor"
    assert tuple(energy.shape) == (batch,), (
        f"{term.label}: energy of {batch} states has shape {tuple(energy.shape)}, not ({batch},)"
    )
    assert energy.is_floating_point(), f"{term.label}: energy is {energy.dtype}, not floating"
    assert not energy.isnan().any(), (
        f"{term.label}: energy is nan at state {first_of(energy.isnan())}"
    )
    low = energy == -torch.inf
    assert not low.any(), f"{term.label}: energy is -inf at state {first_of(low)}"


def _check_purity(term: Term, tensors: Sequence[Tensor]) -> None:
    before = [x.clone() for x in tensors]
    first, second = _energy(term, tensors), _energy(term, tensors)
    assert torch.equal(first, second), f"{term.label}: energy of the same states differs"
    for k, (x, y) in enumerate(zip(tensors, before, strict=True)):
        assert torch.equal(x, y), f"{term.label}: energy changes the tensor of scope entry {k}"


def _check_rows(term: Term, tensors: Sequence[Tensor]) -> None:
    together = _energy(term, tensors)
    for row in {0, len(together) // 2, len(together) - 1}:
        alone = _energy(term, [x[row : row + 1] for x in tensors])
        assert tuple(alone.shape) == (1,), f"{term.label}: one state gives {tuple(alone.shape)}"
        assert all_near(alone[0], together[row]), (
            f"{term.label}: state {row} alone costs {alone[0]:g}, in a batch {together[row]:g}"
        )


def _check_cost(term: Term, draws: _Draws, decided: State) -> None:
    """The cost of places is the energy of one-hot states, row by row, and changes no tensor."""
    placed = draws.placed(decided)
    before = [x.clone() for x in placed]
    told, wanted = _cost(term, placed), _energy(term, draws.tensors(decided))
    assert tuple(told.shape) == tuple(wanted.shape) and told.is_floating_point(), (
        f"{term.label}: cost gives {told.dtype} of shape {tuple(told.shape)}, "
        f"and energy shape {tuple(wanted.shape)}"
    )
    assert all_near(told, wanted), (
        f"{term.label}: cost of places is {told.tolist()}, and energy of one-hot states "
        f"{wanted.tolist()}"
    )
    last = _cost(term, [x[-1:] for x in placed])
    assert all_near(last, told[-1:]), f"{term.label}: cost of a state differs in a batch"
    for k, (x, y) in enumerate(zip(placed, before, strict=True)):
        assert torch.equal(x, y), f"{term.label}: cost changes the tensor of scope entry {k}"


def _check_elsewhere(term: Term, draws: _Draws, relaxed: State, decided: State) -> None:
    """A copy on another device gives the same numbers, there."""
    placed = draws.placed(decided)
    told = (_energy(term, draws.tensors(relaxed)), _cost(term, placed))
    with elsewhere() as device:
        moved = copy.deepcopy(term).to(device)
        for what, of, x, here in (
            ("energy", _energy, draws.tensors(relaxed), told[0]),
            ("cost", _cost, placed, told[1]),
        ):
            try:
                there = of(moved, [t.to(device) for t in x])
            except Mixed as error:
                raise AssertionError(
                    f"{term.label}: {what} on another device: {error}; keep numbers in parameters "
                    "or buffers, and make others where the tensors lie: `device=x.device`"
                ) from error
            assert there.device == device, (
                f"{term.label}: {what} of states on another device is on {there.device}"
            )
            assert all_near(there.cpu(), here), (
                f"{term.label}: {what} on another device is {there.tolist()}, here {here.tolist()}"
            )


def _check_changes(term: Term, draws: _Draws, decided: State) -> None:
    """`changes` against the costs of the changed states, at some sites of every scope entry."""
    placed = [x[:4] for x in draws.placed(decided)]
    sites, sizes = [], []
    for e, view in enumerate(term.scope):
        domain = view.variable.domain
        if isinstance(domain, Finite):
            step = max(1, view.places.size // CHANGED)
            some = range(0, view.places.size, step)
            sites += [(e, site) for site in some]
            sizes += [len(domain.values)] * len(some)
    with torch.no_grad():
        told = term.changes(torch.tensor(sites, dtype=torch.long).reshape(-1, 2), *placed)
    count = len(placed[0])
    wanted = torch.full((count, len(sites), max(sizes, default=0)), torch.inf, dtype=torch.float64)
    assert tuple(told.shape) == tuple(wanted.shape) and told.dtype == torch.float64, (
        f"{term.label}: changes are {told.dtype} of shape {tuple(told.shape)}, and should be "
        f"float64 of shape {tuple(wanted.shape)}"
    )
    now = _cost(term, placed).double()
    room = torch.ones(count, dtype=torch.float64)
    for j, ((e, site), size) in enumerate(zip(sites, sizes, strict=True)):
        flat = placed[e].reshape(count, -1)
        for value in range(size):
            moved = flat.clone()
            moved[:, site] = value
            changed = [*placed[:e], moved.reshape(placed[e].shape), *placed[e + 1 :]]
            after = _cost(term, changed).double()
            room = torch.maximum(room, torch.where(after.isfinite(), after.abs(), 0.0))
            rise = torch.where(after == torch.inf, torch.inf, after - now)
            wanted[:, j, value] = torch.where(flat[:, site] == value, 0.0, rise)
    room = torch.maximum(room, torch.where(now.isfinite(), now.abs(), 0.0))[:, None, None]
    same = (told == wanted) | ((told - wanted).abs() <= NEAR * room)
    assert same.all(), (
        f"{term.label}: setting site {sites[int((~same).nonzero()[0, 1])]} changes the energy by "
        f"{wanted[~same][0]:g}, and changes says {told[~same][0]:g}"
    )


def _precise(term: Term, tensors: Sequence[Tensor]) -> tuple[Term, float, float]:
    """A copy that computes in float64, a step of differences for it and what these may miss; the
    term itself and a longer step where its own numbers cannot be widened."""
    exact = copy.deepcopy(term).double()
    for part in exact.modules():
        if isinstance(part, Term):
            part.dtype = torch.float64  # type: ignore[misc]
    try:
        _energy(exact, [x.double() for x in tensors])
    except Exception:  # a user's code may raise anything; in its own dtype it has run
        return term, 1e-3, COARSE
    return exact, 1e-6, SLOPE


def _check_gradient(term: Term, tensors: Sequence[Tensor]) -> None:
    """The slope along random directions against differences."""
    exact, h, slack = _precise(term, tensors)
    xs = [x.to(exact.dtype).requires_grad_() for x in tensors]
    energy = exact.energy(*xs)
    slopes: Sequence[Tensor | None] = [None] * len(xs)
    if energy.requires_grad:
        finite = torch.where(energy.isfinite(), energy, 0.0)
        slopes = torch.autograd.grad(finite.sum(), xs, allow_unused=True)
    rng = Stream(1, torch.tensor([1]))
    ways = [
        rng.fork(k).normal(x.shape[0], *x.shape[1:], dtype=torch.float64).to(x.dtype)
        for k, x in enumerate(xs)
    ]
    predicted = torch.zeros(xs[0].shape[0], dtype=torch.float64)
    for slope, way in zip(slopes, ways, strict=True):
        if slope is not None:
            assert not slope.isnan().any(), f"{term.label}: the gradient is nan"
            predicted = predicted + (slope * way).reshape(len(way), -1).sum(-1)
    middle = energy.detach().double()
    above = _energy(exact, [x.detach() + h * w for x, w in zip(xs, ways, strict=True)])
    below = _energy(exact, [x.detach() - h * w for x, w in zip(xs, ways, strict=True)])
    one, other = (above.double() - middle) / h, (middle - below.double()) / h
    low, high = torch.minimum(one, other), torch.maximum(one, other)  # they differ at a kink
    room = slack * (1 + torch.maximum(low.abs(), high.abs()))
    room = room + 8 * torch.finfo(xs[0].dtype).eps * middle.abs() / h  # rounding
    known = low.isfinite() & high.isfinite()
    wrong = known & ((predicted < low - room) | (predicted > high + room))
    assert not wrong.any(), (
        f"{term.label}: at state {first_of(wrong)} the gradient gives the slope "
        f"{predicted[first_of(wrong)]:g}, differences give {low[first_of(wrong)]:g}"
    )


def _check_residual(term: Term, tensors: Sequence[Tensor]) -> None:
    r = term.residual(*tensors)
    if r is not None:
        half = (r * r).reshape(len(r), -1).sum(-1) / 2
        assert all_near(half, _energy(term, tensors)), (
            f"{term.label}: energy is not |residual|^2 / 2"
        )


def _check_affine(term: Term, draws: _Draws) -> None:
    """Along a line between two distributions at one site the energy is straight."""
    first = draws.tensors(draws.relaxed(4, 1))
    exact, _, _ = _precise(term, first)
    a, b = (
        [x.to(exact.dtype) for x in tensors]
        for tensors in (first, draws.tensors(draws.relaxed(4, 2)))
    )
    share = 0.3
    for k, view in enumerate(term.scope):
        if not isinstance(view.variable.domain, Finite):
            continue
        sites = view.places.size
        for site in range(0, sites, max(1, sites // 16)):
            ends = []
            for part in (0.0, 1.0, share):
                x = a[k].reshape(a[k].shape[0], sites, -1).clone()
                y = b[k].reshape(a[k].shape[0], sites, -1)
                x[:, site] = (1 - part) * x[:, site] + part * y[:, site]
                xs = [*a[:k], x.reshape(a[k].shape), *a[k + 1 :]]
                ends.append(_energy(exact, xs).double())
            straight = (1 - share) * ends[0] + share * ends[1]
            assert all_near(ends[2], straight), (
                f"{term.label}: not affine in site {site} of scope entry {k}; "
                "set `affine = False`, or mend the energy"
            )


def _check_floor(term: Term, tensors: Sequence[Tensor]) -> None:
    floor, least = term.floor(), float(_energy(term, tensors).min())
    assert not math.isnan(floor) and floor < math.inf, f"{term.label}: floor is {floor}"
    assert floor <= least + NEAR * (1 + abs(least)), (
        f"{term.label}: floor is {floor:g}, but a state costs {least:g}"
    )


def _check_verdicts(term: Term, draws: _Draws, states: State) -> None:
    """`holds` and `explain` on plain values, and the energy of a rule."""
    tensors = draws.tensors(states)
    energies, whole = _energy(term, tensors), clean(term, tensors)
    for row, energy in enumerate(energies.tolist()):
        values = draws.plain(states, row)
        verdict = term.holds(*values)
        assert verdict is None or isinstance(verdict, bool), (
            f"{term.label}: holds gives {verdict!r}, not True, False or None"
        )
        assert verdict is term.holds(*values), f"{term.label}: holds differs on the same values"
        if verdict is not False:
            assert math.isfinite(energy), f"{term.label}: energy is {energy} at {values}"
        said = term.explain(*values)
        assert isinstance(said, list) and all(isinstance(text, str) and text for text in said), (
            f"{term.label}: explain gives {said!r}, not a list of sentences"
        )
        assert bool(said) == (verdict is False), (
            f"{term.label}: holds is {verdict} at {values}, and explain says {said!r}"
        )
        if term.required_by_default:
            assert verdict is not None, f"{term.label}: a rule must decide {values}"
            assert energy >= 0, f"{term.label}: the energy of a rule is {energy:g} at {values}"
            assert (energy <= term.tolerance) == verdict, (
                f"{term.label}: holds is {verdict} at {values}, and the energy is {energy:g}"
            )
            assert whole[row] == verdict, (
                f"{term.label}: holds is {verdict} at {values}, and violation says otherwise"
            )


def _check_proposals(term: Term, seed: int) -> None:
    """Starting states: of the right shapes, finite, and each row's own whatever the batch."""
    keys, particles = torch.tensor([seed, seed + 1]), 3
    wide = [v.of(v.variable.domain) for v in term.scope]
    rows = [domain.select([0, 0]) for domain in wide]
    both = term.propose(particles, Stream(seed, keys), None, *rows)
    alone = term.propose(particles, Stream(seed, keys[1:]), None, *wide)
    assert (both is None) == (alone is None), f"{term.label}: propose depends on the batch"
    if both is None or alone is None:
        return
    assert len(both) == len(wide), f"{term.label}: propose gives {len(both)} of {len(wide)} tensors"
    for k, (x, y, domain) in enumerate(zip(both, alone, wide, strict=True)):
        relaxed = not isinstance(domain, Finite) or not is_decided(x)
        wanted = (2 * particles, *(domain.event if relaxed else domain.shape))
        assert tuple(x.shape) == wanted, (
            f"{term.label}: propose gives shape {tuple(x.shape)} for scope entry {k}, not {wanted}"
        )
        assert x.isfinite().all(), f"{term.label}: propose gives numbers that are not finite"
        assert torch.equal(x[particles:], y), (
            f"{term.label}: propose gives other states to the same row in another batch"
        )


class Watched(Term):
    """Another term, which fails where it is handed tensors that are not of its dtype."""

    def __init__(self, term: Term):
        super().__init__(*term.scope)
        self.term, self.affine, self.dtype = term, term.affine, term.dtype  # type: ignore[misc]

    def energy(self, *tensors: Tensor) -> Tensor:
        self._check_types([self.dtype] * len(tensors), tensors)
        return self.term.energy(*tensors)

    def cost(self, *tensors: Tensor) -> Tensor:
        finite = [isinstance(view.variable.domain, Finite) for view in self.scope]
        self._check_types([torch.int64 if own else self.dtype for own in finite], tensors)
        return self.term.cost(*tensors)

    def _check_types(self, wanted: Sequence[torch.dtype], tensors: Sequence[Tensor]) -> None:
        for k, (dtype, x) in enumerate(zip(wanted, tensors, strict=True)):
            assert x.dtype == dtype, (
                f"{self.term.label}: is handed {x.dtype} for scope entry {k}, not {dtype}"
            )

    def factors(self, *domains: Domain) -> None:
        del domains  # so that every search evaluates

    def floor(self) -> float:
        return self.term.floor()


def _check_doors(term: Term, draws: _Draws, states: State) -> None:
    """It computes, in its own dtype, in a score, in each kind of search and in a draw."""
    problem = Problem(1.0 * Watched(term))
    one = {n: v.domain.decode(states[n][:1])[0] for n, v in draws.variables.items()}
    score_plain(problem, [one])
    for minimizer in (Descent(), Gibbs()):
        for _ in solve(problem, minimizer, particles=2, budget=Budget(steps=1)):
            pass
    samples(problem, 1, particles=2, budget=Budget(stop=lambda: True))


def _check_factors(term: Term, draws: _Draws, states: State) -> None:
    """Explicit structure against energy and `holds`, under base domains and under evidence."""
    if not all(isinstance(v.domain, Finite) for v in draws.variables.values()):
        return
    base = {n: v.domain for n, v in draws.variables.items()}
    rows = range(min(64, len(next(iter(states.values())))))
    _compare(term, draws, states, list(rows), base)
    given = {n: _half_given(d, d.decode(states[n][:1])[0]) for n, d in base.items()}
    inside = [
        row
        for row in rows
        if all(
            torch.equal(given[n].decide(states[n][row : row + 1]), states[n][row : row + 1])
            for n in base
        )
    ]
    _compare(term, draws, states, inside, given)


def _half_given(domain: Domain, value: Any) -> Domain:
    """The domain with every other site given."""
    count = itertools.count()

    def every_other(entry: Any) -> Any:
        if isinstance(entry, list):
            return [every_other(x) for x in entry]
        return entry if next(count) % 2 else None

    return domain.narrow([every_other(value)])


def _compare(
    term: Term, draws: _Draws, states: State, rows: list[int], domains: dict[str, Domain]
) -> None:
    own = [view.of(domains[view.variable.name]) for view in term.scope]
    factors = term.factors(*own)
    if factors is None:
        return
    size = sum(domain.sites for domain in own)
    assert factors.visible == size, (
        f"{term.label}: factors speak of {factors.visible} sites, the scope has {size}"
    )
    energies = _energy(term, draws.tensors(states)).tolist()
    places = np.concatenate([x.reshape(len(x), -1).numpy() for x in draws.placed(states)], axis=1)
    for row in rows:
        values = draws.plain(states, row)
        told = evaluate_factors(factors, places[row])
        assert not factors.functional or count_completions(factors, places[row]) <= 1, (
            f"{term.label}: several values of the hidden sites go with {values}, so they are not "
            "`functional`"
        )
        wanted = energies[row]
        if term.required_by_default:
            wanted = 0.0 if term.holds(*values) else math.inf
        assert near(told, wanted), (
            f"{term.label}: factors cost {told:g} at {values}, and they should cost {wanted:g}"
        )
