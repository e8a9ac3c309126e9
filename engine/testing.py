"""The contract that every domain, term and minimizer keeps, ours or a user's, as plain functions.

    from engine.testing import check_term

    def test_my_term():
        check_term(MyTerm.example())

Each raises AssertionError that says which law failed and where. `evaluate_factors` is the plain
oracle of explicit structure.
"""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import score_plain
from engine.batch import Batch, Failed, gathered
from engine.compare import slack
from engine.domain import Domain, Finite, Real, State, Variable
from engine.energy import Term, plain_scope
from engine.factors import Factors, Ints
from engine.minimizer import Minimizer, Report, score
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.problem import Problem
from engine.random import Stream
from engine.sample import samples
from engine.solve import Budget, solve

NEAR = 1e-5  # relative; states are float32
SLOPE = 1e-4  # relative; differences in float64
COARSE = 1e-2  # relative; differences in float32
ENUMERATED = 512  # states up to which a rule is judged at all of them
HIDDEN = 200_000  # combinations of hidden sites that the oracle looks at


# --- terms ----------------------------------------------------------------------------------------


def check_term(term: Term, *, samples: int = 32, seed: int = 0) -> None:
    """All laws of a term, at random states of the base domains of its variables.

    Shape and rows, purity, gradient, affinity, floor, proposals, the dtype it is handed; of a rule
    also that the energy is zero exactly where it holds, that it explains itself, and that its
    structure agrees.
    """
    draws = _Draws(term, seed)
    relaxed = draws.relaxed(samples)
    decided = draws.decided(samples)
    for state in (relaxed, decided):
        _check_shape(term, draws.tensors(state))
        _check_purity(term, draws.tensors(state))
        _check_rows(term, draws.tensors(state))
    _check_gradient(term, draws.tensors(relaxed))
    _check_residual(term, draws.tensors(relaxed))
    if term.affine:
        _check_affine(term, draws)
    states = draws.every() or decided
    _check_floor(term, draws.tensors(states))
    _check_verdicts(term, draws, states)
    _check_factors(term, draws, states)
    _check_proposals(term, seed)
    _check_doors(term, draws, states)


class _Draws:
    """Random states of a term's variables."""

    def __init__(self, term: Term, seed: int):
        self.term = term
        self.variables: dict[str, Variable] = {v.name: v for v in term.variables()}
        self.rng = Stream(seed, torch.tensor([seed]))

    def decided(self, samples: int) -> dict[str, Tensor]:
        """Random definite states. -> {name: (samples, *event)}"""
        return {
            v.name: v.domain.sample(samples, self.rng.fork(k))
            for k, v in enumerate(self.variables.values())
        }

    def relaxed(self, samples: int, step: int = 1) -> dict[str, Tensor]:
        """Random states with distributions at finite sites, none of them at an edge."""
        rng = self.rng.at(step)
        out = {}
        for k, v in enumerate(self.variables.values()):
            x = v.domain.sample(samples, rng.fork(2 * k))
            if isinstance(v.domain, Finite):
                noise = rng.fork(2 * k + 1).normal(samples, *v.domain.event)
                x = noise.masked_fill(~v.domain.allowed, -torch.inf).softmax(-1)
            out[v.name] = x
        return out

    def every(self) -> dict[str, Tensor] | None:
        """All definite states where they are few; None where there are more."""
        if not all(isinstance(v.domain, Finite) for v in self.variables.values()):
            return None
        choices = []
        for v in self.variables.values():
            assert isinstance(v.domain, Finite)
            flat = v.domain.allowed[0].reshape(v.domain.sites, -1)
            choices += [site.nonzero().reshape(-1).tolist() for site in flat]
        if math.prod(len(c) for c in choices) > ENUMERATED:
            return None
        places = torch.tensor(list(itertools.product(*choices)), dtype=torch.long)
        out, start = {}, 0
        for v in self.variables.values():
            assert isinstance(v.domain, Finite)
            mine = places[:, start : start + v.domain.sites]
            hot = torch.nn.functional.one_hot(mine, len(v.domain.values)).float()
            out[v.name] = hot.reshape(-1, *v.domain.event)
            start += v.domain.sites
        return out

    def tensors(self, state: State) -> list[Tensor]:
        """The tensors of the scope."""
        return self.term.views(state)

    def plain(self, state: State, row: int) -> list[Any]:
        """The plain values of the scope."""
        values = {n: v.domain.decode(state[n][row : row + 1])[0] for n, v in self.variables.items()}
        return plain_scope(self.term, values)


def _energy(term: Term, tensors: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        return term.energy(*tensors)


def _check_shape(term: Term, tensors: Sequence[Tensor]) -> None:
    energy, batch = _energy(term, tensors), tensors[0].shape[0]
    assert isinstance(energy, Tensor), f"{term.label}: energy gives {type(energy)}, not a tensor"
    assert tuple(energy.shape) == (batch,), (
        f"{term.label}: energy of {batch} states has shape {tuple(energy.shape)}, not ({batch},)"
    )
    assert energy.is_floating_point(), f"{term.label}: energy is {energy.dtype}, not floating"
    assert not energy.isnan().any(), f"{term.label}: energy is nan at state {_at(energy.isnan())}"
    low = energy == -torch.inf
    assert not low.any(), f"{term.label}: energy is -inf at state {_at(low)}"


def _check_purity(term: Term, tensors: Sequence[Tensor]) -> None:
    before = [x.clone() for x in tensors]
    first, second = _energy(term, tensors), _energy(term, tensors)
    assert torch.equal(first, second), f"{term.label}: energy of the same states differs"
    for k, (x, y) in enumerate(zip(tensors, before, strict=True)):
        assert torch.equal(x, y), f"{term.label}: energy changes its input {k}"


def _check_rows(term: Term, tensors: Sequence[Tensor]) -> None:
    together = _energy(term, tensors)
    for row in {0, len(together) // 2, len(together) - 1}:
        alone = _energy(term, [x[row : row + 1] for x in tensors])
        assert tuple(alone.shape) == (1,), f"{term.label}: one state gives {tuple(alone.shape)}"
        assert _close(alone[0], together[row]), (
            f"{term.label}: state {row} alone costs {alone[0]:g}, in a batch {together[row]:g}"
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
        f"{term.label}: at state {_at(wrong)} the gradient gives the slope "
        f"{predicted[_at(wrong)]:g}, differences give {low[_at(wrong)]:g}"
    )


def _check_residual(term: Term, tensors: Sequence[Tensor]) -> None:
    r = term.residual(*tensors)
    if r is not None:
        half = (r * r).reshape(len(r), -1).sum(-1) / 2
        assert _close(half, _energy(term, tensors)), f"{term.label}: energy is not |residual|^2 / 2"


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
            assert _close(ends[2], straight), (
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
    energies = _energy(term, draws.tensors(states))
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


def _check_proposals(term: Term, seed: int) -> None:
    """Starting states: of the right shapes, finite, and each row's own whatever the batch."""
    keys, particles = torch.tensor([seed, seed + 1]), 3
    wide = [v.of(v.variable.domain) for v in term.scope]
    rows = [domain.select([0, 0]) for domain in wide]
    both = term.propose(particles, Stream(seed, keys), *rows)
    alone = term.propose(particles, Stream(seed, keys[1:]), *wide)
    assert (both is None) == (alone is None), f"{term.label}: propose depends on the batch"
    if both is None or alone is None:
        return
    assert len(both) == len(wide), f"{term.label}: propose gives {len(both)} of {len(wide)} tensors"
    for k, (x, y, domain) in enumerate(zip(both, alone, wide, strict=True)):
        wanted = (2 * particles, *domain.event)
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
        for k, x in enumerate(tensors):
            assert x.dtype == self.dtype, (
                f"{self.term.label}: is handed {x.dtype} for scope entry {k}, not {self.dtype}"
            )
        return self.term.energy(*tensors)

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
            torch.equal(given[n].project(states[n][row : row + 1]), states[n][row : row + 1])
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
    tensors = draws.tensors(states)
    energies = _energy(term, tensors).tolist()
    places = np.concatenate([x.argmax(-1).reshape(x.shape[0], -1).numpy() for x in tensors], axis=1)
    for row in rows:
        values = draws.plain(states, row)
        told = evaluate_factors(factors, places[row])
        wanted = energies[row]
        if term.required_by_default:
            wanted = 0.0 if term.holds(*values) else math.inf
        assert _same(told, wanted), (
            f"{term.label}: factors cost {told:g} at {values}, and they should cost {wanted:g}"
        )


# --- explicit structure ---------------------------------------------------------------------------


class _Factor(NamedTuple):
    """One factor: its sites, and what it reads its cost from."""

    sites: frozenset[int]
    cost: Any  # places of all sites -> float


def evaluate_factors(factors: Factors, places: Sequence[int] | Ints, row: int = 0) -> float:
    """The cost of the places of the visible sites, hidden ones at their best; inf = forbidden.

    A plain oracle for small structures: hidden sites are enumerated, component by component.
    `row` says which costs count where they differ by row.
    """
    places = [int(p) for p in places]
    assert len(places) == factors.visible, f"{len(places)} places for {factors.visible} sites"
    full = np.array([*places, *[0] * (len(factors.sizes) - factors.visible)])
    hidden = frozenset(range(factors.visible, len(factors.sizes)))
    every = list(_every_factor(factors, row))
    fixed = sum(f.cost(full) for f in every if not f.sites & hidden)
    loose = [f for f in every if f.sites & hidden]
    return float(fixed + _best(loose, hidden, full, factors.sizes, [HIDDEN]))


def _best(
    loose: list[_Factor], hidden: frozenset[int], full: Ints, sizes: Ints, left: list[int]
) -> float:
    """The least cost over the hidden sites; the others stand in `full`."""
    total = 0.0
    for part, sites in _components(loose, hidden):
        if not part:
            continue
        pivot = max(sites, key=lambda s: sum(s in f.sites for f in part))
        best, rest = math.inf, sites - {pivot}
        for value in range(int(sizes[pivot])):
            left[0] -= 1
            if left[0] < 0:
                raise ValueError("too many combinations of hidden sites for the plain oracle")
            full[pivot] = value
            cost = sum(f.cost(full) for f in part if not f.sites & rest)
            if cost < math.inf:
                deeper = [f for f in part if f.sites & rest]
                best = min(best, cost + _best(deeper, rest, full, sizes, left))
        total += best
    return total


def _components(
    loose: list[_Factor], hidden: frozenset[int]
) -> Iterator[tuple[list[_Factor], frozenset[int]]]:
    """Hidden sites that share factors, together with these."""
    rest = list(loose)
    while rest:
        part = [rest.pop()]
        sites = set(part[0].sites & hidden)
        grown = True
        while grown:
            near = [f for f in rest if f.sites & sites]
            grown = bool(near)
            rest = [f for f in rest if not f.sites & sites]
            for f in near:
                part.append(f)
                sites |= f.sites & hidden
        yield part, frozenset(sites)


def _every_factor(factors: Factors, row: int) -> Iterator[_Factor]:
    c, k, s, d = factors.counted, factors.clauses, factors.sums, factors.different
    for i in range(c.count):
        at = slice(c.start[i], c.start[i + 1])
        yield _counted(c.site[at], c.value[at], int(c.low[i]), int(c.high[i]))
    for i in range(k.count):
        at = slice(k.start[i], k.start[i + 1])
        yield _clause(k.site[at], k.value[at], k.sign[at])
    for i in range(s.count):
        at = slice(s.start[i], s.start[i + 1])
        yield _summed(s.site[at], s.value[at], s.coefficient[at], s.low[i], s.high[i])
    for line in d.lines():
        yield _Factor(
            frozenset(line.tolist()),
            lambda x, at=line: _forbid(len(set(x[at].tolist())) == len(at)),
        )
    for table in factors.tables:
        costs = table.costs if table.costs.ndim == 1 else table.costs[row]
        known = {tuple(t): float(c) for t, c in zip(table.tuples.tolist(), costs, strict=True)}
        for scope in table.scopes:
            yield _Factor(
                frozenset(scope.tolist()),
                lambda x, at=scope, known=known, default=table.default: known.get(
                    tuple(x[at].tolist()), default
                ),
            )


def _counted(site: Ints, value: Ints, low: int, high: int) -> _Factor:
    return _Factor(
        frozenset(site.tolist()), lambda x: _forbid(low <= int((x[site] == value).sum()) <= high)
    )


def _clause(site: Ints, value: Ints, sign: np.ndarray) -> _Factor:
    return _Factor(
        frozenset(site.tolist()), lambda x: _forbid(bool(((x[site] == value) == sign).any()))
    )


def _summed(site: Ints, value: Ints, coefficient: Any, low: float, high: float) -> _Factor:
    def cost(x: Ints) -> float:
        total = math.fsum(coefficient[x[site] == value])
        slack = 1e-9 * (1 + abs(total))
        return _forbid(low - slack <= total <= high + slack)

    return _Factor(frozenset(site.tolist()), cost)


def _forbid(good: bool) -> float:
    return 0.0 if good else math.inf


# --- domains --------------------------------------------------------------------------------------


def check_domain(domain: Domain, *, samples: int = 16, seed: int = 0) -> None:
    """All laws of a domain: sampling, projecting, deciding, encoding, narrowing and its rows."""
    name = type(domain).__name__
    keys = torch.arange(domain.rows) + seed
    x = domain.sample(samples, Stream(seed, keys))
    wanted = (domain.rows * samples, *domain.event)
    assert tuple(x.shape) == wanted, f"{name}: sample gives {tuple(x.shape)}, not {wanted}"
    assert len(domain.fingerprints) == domain.rows, f"{name}: one fingerprint a row"
    wild = Stream(seed + 1, keys).normal(samples, *domain.event) * 3
    for what, y in (
        ("a sample", x),
        ("project", domain.project(wild)),
        ("decide", domain.decide(wild)),
    ):
        assert torch.allclose(domain.project(y), y, atol=1e-5), f"{name}: {what} is not inside"
    inside = domain.project(wild)
    near, far = ((wild - y).reshape(len(x), -1).norm(dim=-1) for y in (inside, x))
    assert (near <= far + 1e-4).all(), f"{name}: a sample is nearer than the projection"
    decided = domain.decide(x)
    assert torch.equal(domain.decide(decided), decided), f"{name}: decide is not settled"
    for row in range(domain.rows):
        _check_row(domain, row, decided[row * samples])
    twice = domain.join([domain])
    assert twice.rows == 2 * domain.rows, f"{name}: join has {twice.rows} rows"
    back = twice.select(range(domain.rows))
    assert back.fingerprints == domain.fingerprints, f"{name}: select does not undo join"


def _check_row(domain: Domain, row: int, state: Tensor) -> None:
    """Narrowing one row to a value, and not at all."""
    name, alone = type(domain).__name__, domain.select([row])
    (value,) = domain.decode(state[None])
    coded = domain.encode(value).to(state.dtype)
    assert torch.allclose(coded, state, atol=1e-5), f"{name}: encode does not undo decode"
    assert domain.decode(domain.encode(value)[None]) == [value], (
        f"{name}: decode does not undo encode"
    )
    assert alone.narrow([None]).fingerprints == alone.fingerprints, f"{name}: None narrows"
    given = alone.narrow([value])
    moved = given.decide(given.sample(3, Stream(5, torch.tensor([5]))))
    assert torch.allclose(moved, state.expand_as(moved).to(moved.dtype), atol=1e-5), (
        f"{name}: a sample of the narrowed domain has another value than the given {value!r}"
    )


# --- minimizers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trial:
    """One run of a minimizer: its reports after the first look and after each step."""

    reports: list[Report]
    states: list[Any]


def check_minimizer(
    minimizer: Minimizer, problem: Problem, *, particles: int = 4, steps: int = 8, seed: int = 0
) -> None:
    """All laws of a minimizer on a problem, best one of several rows of evidence.

    A step is pure; the same seed gives the same answer; states stay inside the narrowed domains;
    no report is worse than the start or than an earlier one; proofs hold for the state reported;
    a row alone does what it does in a batch.
    """
    name = type(minimizer).__name__
    start = _start(problem, particles, seed)
    trial = _run(minimizer, problem, start, steps, seed)
    _check_reports(name, problem, trial.reports)
    _check_never_worse(name, problem, trial.reports[-1], start)
    again = _run(minimizer, problem, start, steps, seed)
    for k, (a, b) in enumerate(zip(trial.reports, again.reports, strict=True)):
        _assert_same(f"{name}: the same seed, step {k}", a, b)
    rng = _stream(problem, seed)
    for k in (0, len(trial.states) - 2):  # the state before a step is as good as new
        if k < 0:
            continue
        report = minimizer.report(problem, trial.states[k])
        _assert_same(
            f"{name}: a later step changed the state after step {k}", report, trial.reports[k]
        )
        repeated = minimizer.step(problem, trial.states[k], rng.at(k + 1))
        report = minimizer.report(problem, repeated)
        _assert_same(f"{name}: step {k + 1} repeated", report, trial.reports[k + 1])
    for row in range(problem.rows if problem.rows > 1 else 0):
        own = {n: x.unflatten(0, (problem.rows, -1))[row] for n, x in start.items()}
        alone = _run(minimizer, problem.select([row]), own, steps, seed)
        _assert_same(f"{name}: row {row} alone", _row(trial.reports[-1], row), alone.reports[-1])
    if problem.rows > 1:
        _check_joining(minimizer, problem, start, trial, steps, seed)


def _check_joining(
    minimizer: Minimizer, problem: Problem, start: State, trial: _Trial, steps: int, seed: int
) -> None:
    """Rows that join a running batch one by one end as rows that began together."""
    batch: Batch[int] = Batch(minimizer)
    rng = _stream(problem, seed)
    last: dict[int, tuple[Report, int]] = {}
    waiting = list(range(problem.rows))
    while waiting or last:
        if waiting:
            row = waiting.pop(0)
            x = {n: t.unflatten(0, (problem.rows, -1))[row] for n, t in start.items()}
            own = rng.select(torch.tensor([row]))
            last[row] = batch.join(problem.select([row]), x, own, [(row, 0)]), 0
        stepped = batch.step()
        assert not isinstance(stepped, Failed), f"a step failed: {stepped.error!r}"
        for place, (row, _) in enumerate(() if stepped is None else stepped.tickets):
            last[row] = stepped.report, place  # type: ignore[union-attr]
            if stepped.done[place] or stepped.steps[place] == steps:  # type: ignore[union-attr]
                batch.leave([(row, 0)])
                what = f"{type(minimizer).__name__}: row {row} in a batch that others join"
                whole = next((r for r in trial.reports if bool(r.done[row])), trial.reports[-1])
                _assert_same(what, _row(whole, row), gathered([last.pop(row)]))


def _stream(problem: Problem, seed: int) -> Stream:
    return Stream(seed, problem.keys)


def _start(problem: Problem, particles: int, seed: int) -> dict[str, Tensor]:
    rng = _stream(problem, seed).at(0)
    return {
        n: problem.domain(n).sample(particles, rng.fork(k)) for k, n in enumerate(problem.domains)
    }


def _run(minimizer: Minimizer, problem: Problem, x: State, steps: int, seed: int) -> _Trial:
    rng = _stream(problem, seed)
    before = {n: t.clone() for n, t in x.items()}
    state = minimizer.init(problem, x, rng.at(0))
    states, reports = [state], [minimizer.report(problem, state)]
    for k in range(1, steps + 1):
        if bool(reports[-1].done.all()):
            break
        state = minimizer.step(problem, state, rng.at(k))
        states.append(state)
        reports.append(minimizer.report(problem, state))
    for n, t in x.items():
        assert torch.equal(t, before[n]), f"{type(minimizer).__name__}: changes its start"
    return _Trial(reports, states)


def _check_reports(name: str, problem: Problem, reports: Iterable[Report]) -> None:
    last: Report | None = None
    for k, report in enumerate(reports):
        rows = problem.rows
        for what in ("energy", "violation", "bound", "done", "unique"):
            shape = tuple(getattr(report, what).shape)
            assert shape == (rows,), f"{name}: {what} of {rows} rows has shape {shape}"
        for n in problem.domains:
            x = report.x[n]
            assert x.shape[0] == rows, f"{name}: {x.shape[0]} states of {n} for {rows} rows"
            settled = problem.domain(n).decide(x)
            assert torch.allclose(settled, x.to(settled.dtype), atol=1e-5), (
                f"{name}: after step {k} {n} is undecided, or has left its narrowed domain"
            )
            if isinstance(problem.domain(n), Real):
                assert x.dtype == settled.dtype and torch.equal(_bits(settled), _bits(x)), (
                    f"{name}: after step {k} {n} has given numbers changed, or lies past an edge"
                )
        found = report.energy.isfinite() & (report.bound < torch.inf)
        told = score(problem, report.x)
        for what in ("energy", "violation"):
            a, b = getattr(report, what)[found], getattr(told, what)[found]
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-4), (
                f"{name}: after step {k} it reports {what} {a.tolist()}, the states have "
                f"{b.tolist()}"
            )
        clean = found & (report.violation == 0)
        over = report.bound - report.energy
        assert bool((over <= slack(problem, report.x))[clean].all()), (
            f"{name}: after step {k} a bound lies above the energy of a state"
        )
        if last is not None:
            assert not (last.better(report) & (report.bound < torch.inf)).any(), (
                f"{name}: the report after step {k} is worse than the one before"
            )
            assert (report.bound >= last.bound).all(), f"{name}: a bound is taken back"
        last = report


def _check_never_worse(name: str, problem: Problem, report: Report, start: State) -> None:
    """No start is better than the last report."""
    told = score(problem, problem.decide(start))
    energy, violation = (t.unflatten(0, (problem.rows, -1)) for t in told)
    for row in range(problem.rows):
        if report.bound[row] == torch.inf:
            continue
        for e, v in zip(energy[row].tolist(), violation[row].tolist(), strict=True):
            mine = float(report.violation[row]), float(report.energy[row])
            better = v < mine[0] - 1e-6 or (
                v <= mine[0] + 1e-6 and e < mine[1] - 1e-5 * (1 + abs(e))
            )
            assert not better, (
                f"{name}: row {row} ends with violation {mine[0]:g} and energy {mine[1]:g}, "
                f"a start has {v:g} and {e:g}"
            )


def _row(report: Report, row: int) -> Report:
    """One row of a report."""
    one = slice(row, row + 1)
    return Report(
        {n: x[one] for n, x in report.x.items()},
        report.energy[one],
        report.violation[one],
        report.bound[one],
        report.done[one],
        report.unique[one],
        (tuple(report.others[row]),) if report.others else (),
    )


def _assert_same(what: str, a: Report, b: Report) -> None:
    for name in ("energy", "violation", "bound"):
        x, y = getattr(a, name), getattr(b, name)
        near = (x - y).abs() <= 1e-4 * (1 + y.abs())
        same = (x == y) | (near & x.isfinite() & y.isfinite())
        assert same.all(), f"{what}: {name} is {x.tolist()}, and then {y.tolist()}"
    for name in ("done", "unique"):
        x, y = getattr(a, name), getattr(b, name)
        assert torch.equal(x, y), f"{what}: {name} is {x.tolist()}, and then {y.tolist()}"
    for n in a.x:
        assert torch.allclose(a.x[n].double(), b.x[n].double(), atol=1e-4), (
            f"{what}: the best states of {n} differ"
        )


# --- numbers --------------------------------------------------------------------------------------


def _close(a: Tensor, b: Tensor) -> bool:
    a, b = a.double(), b.double()
    near = (a - b).abs() <= NEAR * (1 + b.abs())
    return bool(((a == b) | (near & a.isfinite() & b.isfinite())).all())


def _bits(x: Tensor) -> Tensor:
    """Float64 numbers as whole ones: -0.0 is not 0.0."""
    return x.contiguous().view(torch.int64)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isfinite(a + b) and abs(a - b) <= NEAR * (1 + abs(b)))


def _at(mask: Tensor) -> int:
    """The first state where something is so."""
    return int(mask.nonzero()[0, 0]) if mask.any() else 0


__all__ = ["Watched", "check_domain", "check_minimizer", "check_term", "evaluate_factors"]
