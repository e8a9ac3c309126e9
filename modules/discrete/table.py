"""A cost for each combination of values, shared by any number of scopes; null forbids."""

import math
import random
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, WithJsonSchema
from torch import Tensor

from engine.decimals import Floats, Ints, short_times
from engine.domain import Domain, Finite, Variable, View
from engine.energy.changes import Together, evaluated_changes, settled
from engine.errors import BadQuery, Mistake, Mistakes
from engine.factors import Factors, floats
from engine.factors import Table as Costs
from engine.plain import plain
from modules.parameters import GUARD, Literals, Number, Strict
from modules.shared.combinations import Combinations
from modules.shared.examples import literal, scope_of, values_of
from modules.shared.guards import Guard
from modules.shared.incidence import Incidence, Met
from modules.shared.sites import MISTAKES, ROUNDS, OverSites, finite, listed, read_sites, rounds

WRITTEN = 1 << 12  # combinations of a table up to which it is asked beside others
PIECE = 1 << 20  # numbers that a lookup holds at once
EXACT = 1 << 53  # whole numbers up to this size are held as they are
_SITE = {"type": "integer", "minimum": 0}
_SITES = {"type": "array", "minItems": 1}


class Parameters(Strict):
    """Costs of combinations: either all of them (`costs`), or some and a `default`."""

    sites: Annotated[
        list[Any],
        WithJsonSchema(
            {
                "anyOf": [
                    {**_SITES, "items": _SITE},
                    {**_SITES, "items": {**_SITES, "items": _SITE}},
                ]
            }
        ),
    ] = Field(
        description="The sites the costs speak of, or a list of such lists that share the costs."
    )
    costs: Annotated[list[Any] | None, WithJsonSchema({"type": "array"})] = Field(
        None,
        description="Nested lists, one level a site, in the order of its values: the cost of each "
        "combination; null forbids it.",
    )
    default: Number | None = Field(
        0.0, description="Cost of each combination that `tuples` leaves out; null forbids them."
    )
    tuples: Annotated[
        list[list[Any]] | None,
        WithJsonSchema({"type": "array", "items": {"type": "array", "items": {}}}),
    ] = Field(
        None, description="[value, ..., cost]: one value for each site, then the cost or null."
    )
    guard: Literals = GUARD


class Table(OverSites):
    """A cost for each combination of values at a few sites.

    E = sum over scopes of (sum over combinations of cost * probability) - ln(1 - probability of a
    forbidden combination); a forbidden combination counts with the least finite cost in the first
    sum. Decided: the cost, or infinite. Affine in each site where nothing is forbidden; in the
    unit of the costs. Holds where no scope has a forbidden combination. Either `costs`, or
    `tuples` with `default`; `sites` is one scope or a list of scopes (the parts) that take the
    same values. Under a guard (`modules.shared.guards`) they are paid, and forbid, only where it
    holds. It is a cost, so not required by default; a required table may only forbid.
    BadQuery: wrong nesting, an unknown value, a combination listed twice, a cost that is neither
    finite nor null.
    """

    required_by_default = False

    def __init__(
        self,
        *scope: Variable | View,
        sites: Sequence[Any],
        costs: Sequence[Any] | None = None,
        default: float | None = 0.0,
        tuples: Sequence[Sequence[Any]] | None = None,
        guard: Sequence[Any] = (),
    ):
        super().__init__(*scope)
        self.guard = Guard(self.layout, guard)
        self.scopes = self._read_scopes(sites)
        self.sizes = [int(self.layout.sizes[s]) for s in self.scopes[0]]
        if (costs is None) == (tuples is None):
            raise BadQuery(
                Mistake(
                    "costs",
                    "is missing" if costs is None else "stands beside tuples",
                    "give either costs, or tuples and default",
                )
            )
        if costs is not None:
            self._read_costs(costs)
        else:
            self._read_tuples(tuples, default)
        forbidden = bool(np.isinf(self.costs).any() or math.isinf(self.default))
        self.affine = not forbidden and not self.guard  # type: ignore[misc]
        self._prepare(forbidden)

    def _read_scopes(self, sites: Any) -> Ints:
        """The scopes. -> (m, arity); they have the same values at each of their places."""
        every = listed(sites)
        if not every:
            raise BadQuery(
                Mistake("sites", f"{sites!r} names no sites", "write it as [0, 1] or [[0, 1], ...]")
            )
        nested = listed(every[0]) is not None
        try:
            read = read_sites(self.layout, every if nested else [every], "sites")
        except BadQuery as error:
            if nested:
                raise
            raise BadQuery(
                *(
                    Mistake(m.path.replace("sites[0]", "sites", 1), m.problem, m.remedy)
                    for m in error.mistakes
                )
            ) from None
        wrong = Mistakes(MISTAKES)
        lookups, entry = self.layout.lookups, self.layout.entry
        first = [list(lookups[entry[s]]) for s in read[0]]
        for k, one in enumerate(read[1:], 1):
            if len(one) != len(read[0]):
                wrong.add(f"sites[{k}]", f"has {len(one)} sites", f"the first has {len(read[0])}")
            elif not self.layout.uniform and [list(lookups[entry[s]]) for s in one] != first:
                wrong.add(
                    f"sites[{k}]",
                    "takes other values than the first",
                    "write one term for each",
                )
        wrong.check()
        return np.array(read, dtype=np.int64)

    def _read_costs(self, costs: Any) -> None:
        """All combinations: one nested list."""
        arity = len(self.sizes)
        flat = list(_nested(costs, self.sizes, "costs"))
        wrong = Mistakes(MISTAKES)
        for k, cost in enumerate(flat):
            if cost is None or (type(cost) is float and math.isfinite(cost)):
                continue
            if type(cost) is int and -EXACT <= cost <= EXACT:
                continue
            path = "".join(f"[{i}]" for i in np.unravel_index(k, self.sizes))
            _check_cost(cost, f"costs{path}", wrong)
        wrong.check()
        self.costs = floats([math.inf if c is None else float(c) for c in flat])
        self.tuples = np.indices(self.sizes).reshape(arity, -1).T
        self.default, self.dense = 0.0, True

    def _read_tuples(self, tuples: Any, default: Any) -> None:
        """Some combinations, the others at the default cost."""
        arity, wrong = len(self.sizes), Mistakes(MISTAKES)
        if default is not None:
            _check_cost(default, "default", wrong)
        owners = [self.layout.domains[self.layout.entry[s]] for s in self.scopes[0]]
        read: dict[tuple[int, ...], float] = {}
        every = listed(tuples)
        if every is None:
            raise BadQuery(Mistake("tuples", f"{tuples!r} is no list", "write it as [[...], ...]"))
        for k, entry in enumerate(map(plain, every)):
            path = f"tuples[{k}]"
            if not isinstance(entry, list) or len(entry) != arity + 1:
                remedy = f"write {arity} values, then the cost or null"
                wrong.add(path, f"{entry!r} is no combination", remedy)
                continue
            *values, cost = entry
            if cost is not None and not _check_cost(cost, f"{path}[{arity}]", wrong):
                continue
            try:
                key = tuple(
                    own.place(v, f"{path}[{j}]")
                    for j, (own, v) in enumerate(zip(owners, values, strict=True))
                )
            except BadQuery as error:
                for m in error.mistakes:
                    wrong.add(m.path, m.problem, m.remedy)
                continue
            if key in read:
                wrong.add(path, f"{values!r} stands twice", "name every combination once")
            read[key] = math.inf if cost is None else float(cost)
        wrong.check()
        self.costs = floats(read.values())
        self.tuples = np.array(list(read), dtype=np.int64).reshape(-1, arity)
        self.default = math.inf if default is None else float(default)
        if len(read) == math.prod(self.sizes):
            self.default = 0.0  # nothing is left out
        self.dense = False

    def _prepare(self, forbidden: bool) -> None:
        """The costs that count, what is forbidden, and the columns of each scope."""
        full = len(self.tuples) == math.prod(self.sizes)
        finite_costs = [*self.costs[np.isfinite(self.costs)].tolist()]
        if not full and math.isfinite(self.default):
            finite_costs.append(self.default)
        self.least = min(finite_costs, default=0.0)
        base = self.default if math.isfinite(self.default) else self.least
        costs = np.where(np.isfinite(self.costs), self.costs, self.least)
        tables = [(costs - (0.0 if self.dense else base), 0.0 if self.dense else base)]
        if forbidden:
            closed = np.isinf(self.costs).astype(np.float64)
            rest = float(math.isinf(self.default))
            tables.append((closed - rest, rest))
        # each is base + sum of (cost - base) * probability
        self._tables = [(torch.from_numpy(c), b) for c, b in tables]
        self._columns = [
            torch.from_numpy(self.layout.offset[self.scopes[:, j]]) for j in range(len(self.sizes))
        ]
        self._places = torch.from_numpy(np.ascontiguousarray(self.tuples))
        closed_tuples = self.tuples[np.isinf(self.costs)]
        finite_tuples = self.tuples[np.isfinite(self.costs)]
        picked = finite_tuples if math.isinf(self.default) else closed_tuples
        self._listed = set(self._plain(picked)) if forbidden else None
        self._getters = [_getter(row) for row in self.scopes.tolist()]

    def _plain(self, tuples: Ints) -> Iterator[tuple[Any, ...]]:
        """Combinations of places as tuples of plain values."""
        first = self.scopes[0]
        columns = [
            self.layout.values_at(np.full(len(tuples), s), tuples[:, j])
            for j, s in enumerate(first)
        ]
        return zip(*columns, strict=True)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,) float64
        x = self.layout.columns(tensors).double()
        return self._guarded(tensors, self._total(x))

    def _guarded(self, tensors: Sequence[Tensor], own: Tensor) -> Tensor:
        """What is paid where the guard may hold. (B,) -> (B,)"""
        if not self.guard:
            return own
        chance = self.guard.chance(self.layout.columns(tensors)).to(own)
        shut = own.isinf()
        forbidden = torch.where(chance > 0, torch.inf, 0.0).to(own)
        return torch.where(shut, forbidden, chance * own.masked_fill(shut, 0.0))

    def _total(self, x: Tensor) -> Tensor:
        """The energy without a guard. (B, C) -> (B,)"""
        picked = [
            x[:, column.to(x.device)[:, None] + torch.arange(k, device=x.device)]
            for column, k in zip(self._columns, self.sizes, strict=True)
        ]  # (B, m, k) for each site of a scope
        sums = [
            self._contract(costs.to(x), picked) + base
            if self.dense
            else self._listed_sum(costs.to(x), picked) + base
            for costs, base in self._tables
        ]
        total = sums[0].sum(-1)
        if len(sums) == 1:
            return total
        left = 1 - sums[1]
        tiny = torch.finfo(left.dtype).tiny
        barrier = torch.where(left > 0, -left.clamp(min=tiny).log(), torch.inf)
        return total + barrier.sum(-1)

    def _contract(self, costs: Tensor, picked: list[Tensor]) -> Tensor:
        """Expected cost, one site after the other. -> (B, m)"""
        out = picked[0] @ costs.reshape(self.sizes[0], -1)
        for p in picked[1:]:
            out = (out.unflatten(-1, (p.shape[-1], -1)) * p[..., None]).sum(-2)
        return out[..., 0]

    def _listed_sum(self, costs: Tensor, picked: list[Tensor]) -> Tensor:
        """Sum over the listed combinations of cost * probability. -> (B, m)"""
        places = self._places.to(costs.device)
        chance = picked[0][..., places[:, 0]]  # (B, m, T)
        for j, p in enumerate(picked[1:], 1):
            chance = chance * p[..., places[:, j]]
        return chance @ costs

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        x = self.layout.decided(tensors)
        scopes = torch.from_numpy(self.scopes).to(x.device)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for some in scopes.split(max(1, PIECE // max(1, len(x) * scopes.shape[1]))):
            total = total + self.combinations.cost(x[:, some]).sum(-1)
        if self.guard:
            return torch.where(self.guard.stands(x), total, torch.zeros_like(total))
        return total

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        """Of each scope that a site stands in, what each value costs there instead."""
        if self.guard or not self.combinations.whole:
            return evaluated_changes(self, Together.apart(sites), decided)
        x, numbers = self.layout.decided(decided), self.layout.numbers(sites)
        size, stands = self.layout.values_of(numbers), x[:, numbers]
        most = int(size.max()) if len(size) else 0
        met = self._incidence.met(numbers)
        each = max(1, PIECE // max(1, len(met.owner) * most, self.scopes.size))
        out = [
            self._changed(x[i : i + each], stands[i : i + each], met, most)
            for i in range(0, len(x), each)
        ]
        none = torch.zeros(0, len(numbers), most, dtype=torch.float64, device=x.device)
        return settled(torch.cat([none, *out]), stands, size)

    def _changed(self, x: Tensor, stands: Tensor, met: Met, most: int) -> Tensor:
        """Places (b, n), of the sites that change (b, m). -> (b, m, most)"""
        device, every = x.device, self.combinations
        number = every.number(x[:, torch.from_numpy(self.scopes).to(device)])  # (b, scopes)
        stride = every.strides.to(device)[met.column]
        now = number[:, met.row]  # (b, L)
        value = torch.arange(most, device=device)
        least = torch.tensor(self.sizes, device=device)[met.column, None] - 1
        first = now - stands[:, met.owner] * stride
        after = every.numbered(first[..., None] + torch.minimum(value, least) * stride[:, None])
        before = every.numbered(now)
        shape = (len(x), stands.shape[1], most)
        rise = _finite(after) - _finite(before)[..., None]
        change = torch.zeros(shape, dtype=torch.float64, device=device)
        change = change.index_add(1, met.owner, rise)
        if self._listed is None:
            return change
        shut = every.numbered(number).isinf().sum(1)[:, None]  # (b, 1) scopes that forbid now
        left = shut - torch.zeros(shape[:2], dtype=torch.int64, device=device).index_add(
            1, met.owner, before.isinf().long()
        )
        closed = torch.zeros(shape, dtype=torch.int64, device=device)
        closed = closed.index_add(1, met.owner, after.isinf().long()) + left[..., None]
        change = torch.where((shut > 0)[..., None], -torch.inf, change)
        return torch.where(closed > 0, torch.inf, change)

    @cached_property
    def combinations(self) -> Combinations:
        """What places at a scope cost."""
        return Combinations(self.sizes, self.tuples, self.costs, self.default)

    @cached_property
    def _incidence(self) -> Incidence:
        """The scopes that each site stands in."""
        return Incidence(self.scopes, self.layout.sites)

    def holds(self, *values: Any) -> bool:
        if self._listed is None:
            return True
        return self.guard.judged(self.layout.flat(values), not any(self._failing(values)))

    def _failing(self, values: Sequence[Any]) -> Iterator[bool]:
        """Whether each scope has a forbidden combination."""
        flat, unlisted = self.layout.flat(values), math.isinf(self.default)
        listed = self._listed or set()
        return ((get(flat) in listed) is not unlisted for get in self._getters)

    def check_required(self) -> None:
        default = 0.0 if len(self.tuples) == math.prod(self.sizes) else self.default
        soft = [c for c in chain(self.costs, [default]) if math.isfinite(c) and c != 0]
        if soft:
            raise BadQuery(
                Mistake(
                    "required",
                    f"the table has the finite cost {soft[0]:g}, which a rule would ignore",
                    "set required: false, or let the costs be 0 or null",
                )
            )

    def factors(self, *domains: Domain) -> Factors:
        m = len(self.scopes)
        costs: Floats = self.costs
        table = Costs(
            self.scopes,
            self.tuples,
            costs,
            self.default,
            np.zeros(m, dtype=np.int64),
            np.arange(m),
        )
        for site, place, _ in self.guard.when:
            table = table.under(np.full(m, site), place)
        return self.made(domains, tables=(table,))

    @cached_property
    def kin(self) -> Hashable | None:
        """Costs of the same combinations, small enough to be written out, at one scope each."""
        if self.guard or len(self.scopes) > 1 or math.prod(self.sizes) > WRITTEN:
            return None
        listed = () if self.dense else self.tuples.tobytes()
        return tuple(self.sizes), listed, self.default, self._listed is None

    @classmethod
    def structured_together(
        cls, terms: Sequence["Table"], weights: Sequence[float | None], *domains: Domain
    ) -> Factors | None:
        first, m = terms[0], len(terms)
        priced = len(set(weights)) > 1
        if priced and first.default:
            return None
        every, default = np.stack([term.costs for term in terms]), first.default
        for weight in dict.fromkeys(weights):
            if weight is None or weight == 1:
                continue
            mine = np.array([w == weight for w in weights])
            costs = short_times(weight, np.append(every[mine].reshape(-1), default))
            if costs is None:
                return None  # each by its own
            every[mine] = costs[:-1].reshape(-1, every.shape[1])
            default = default if priced else float(costs[-1])
        table = Costs(
            np.concatenate([term.scopes for term in terms]),
            first.tuples,
            every,
            default,
            np.arange(m),
            np.zeros(m, dtype=np.int64),
            apart=True,
        )
        return first.made(domains, tables=(table,))

    @classmethod
    def cost_together(cls, terms: Sequence["Table"], *decided: Tensor) -> Tensor | None:
        first, m = terms[0], len(terms)
        if m * math.prod(first.sizes) > PIECE:
            return None
        x = first.layout.decided(decided)
        scopes = torch.from_numpy(np.concatenate([term.scopes for term in terms])).to(x.device)
        every = np.full((m, math.prod(first.sizes)), first.default)
        strides = np.array([math.prod(first.sizes[j + 1 :]) for j in range(len(first.sizes))])
        every[:, (first.tuples * strides).sum(1)] = np.stack([term.costs for term in terms])
        costs, stride = torch.from_numpy(every).to(x.device), torch.from_numpy(strides).to(x.device)
        own = torch.arange(m, device=x.device)
        each = max(1, PIECE // (m * len(first.sizes)))
        parts = [costs[own, (some[:, scopes] * stride).sum(-1)] for some in x.split(each)]
        return torch.cat(parts) if parts else costs.new_zeros(0, m)

    @classmethod
    def holds_together(cls, terms: Sequence["Table"], *values: Any) -> list[bool]:
        if terms[0]._listed is None:
            return [True] * len(terms)
        flat, unlisted = terms[0].layout.flat(values), math.isinf(terms[0].default)
        return [(term._getters[0](flat) in (term._listed or ())) is unlisted for term in terms]

    def floor(self) -> float:
        least = len(self.scopes) * self.least
        return min(0.0, least) if self.guard else least

    def says(self, part: int) -> str:
        names = self.layout.names(self.scopes[part].tolist())
        return f"{self.guard.words()}what is forbidden of {names}"

    def explain(self, *values: Any) -> list[str]:
        if self._listed is None:
            return []
        flat = self.layout.flat(values)
        if not self.guard.true(flat):
            return []
        return [
            f"combination {k} is forbidden: "
            + "; ".join(self.layout.at(s, flat[s]) for s in self.scopes[k].tolist())
            for k, fails in enumerate(self._failing(values))
            if fails
        ]

    @classmethod
    def example(cls) -> "Table":
        x = Variable("x", Finite((0, 1, 2), (3,)))
        return cls(x, sites=[[0, 1], [1, 2]], costs=[[0, 1.5, None], [2, -1, 0], [0, 0.5, 1]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Table"]:
        prices = [0, 1.5, -2, None, 0.25]
        while True:
            own = scope or scope_of(rng)
            values = values_of(own)
            guard = [literal(rng, values)] if rng.random() < 0.3 else []
            drawn = rng.sample(range(len(values)), rng.randint(1, min(3, len(values))))
            sites: list[Any] = [drawn, drawn] if rng.random() < 0.5 else drawn
            sizes = [len(values[site]) for site in drawn]
            every = list(np.ndindex(*sizes))
            if rng.random() < 0.5:
                costs = np.empty(sizes, dtype=object)
                for place in every:
                    costs[place] = rng.choice(prices)
                yield cls(*own, sites=sites, costs=costs.tolist(), guard=guard)
                continue
            chosen = rng.sample(every, min(len(every), rng.randint(0, 4)))
            tuples = [
                [*(values[s][p] for s, p in zip(drawn, place, strict=True)), rng.choice(prices)]
                for place in chosen
            ]
            default = rng.choice(prices)
            yield cls(*own, sites=sites, tuples=tuples, default=default, guard=guard)


def _finite(costs: Tensor) -> Tensor:
    """Costs with 0 for what is forbidden."""
    return torch.where(costs.isinf(), 0.0, costs)


def _nested(costs: Any, sizes: Sequence[int], path: str) -> Iterator[Any]:
    """Nested lists of the given sizes, flat. Raises BadQuery with the place."""
    costs = costs if isinstance(costs, (list, tuple)) else plain(costs)
    if not isinstance(costs, (list, tuple)):
        raise BadQuery(Mistake(path, f"{costs!r} is no list", f"give {sizes[0]} entries"))
    if len(costs) != sizes[0]:
        raise BadQuery(
            Mistake(
                path,
                f"has {len(costs)} entries",
                f"give {sizes[0]}, one for each value of the site",
            )
        )
    for k, entry in enumerate(costs):
        if len(sizes) > 1:
            yield from _nested(entry, sizes[1:], f"{path}[{k}]")
        elif isinstance(entry, (list, tuple)):
            raise BadQuery(Mistake(f"{path}[{k}]", f"{entry!r} is a list", "give a cost or null"))
        else:
            yield entry


def _check_cost(cost: Any, path: str, wrong: Mistakes) -> bool:
    """Whether this is a finite cost that float64 holds as it is written; a complaint if not."""
    if not finite(cost):
        wrong.add(path, f"{cost!r} is no finite cost", "give a number or null")
    elif rounds(cost):
        wrong.add(path, f"{cost!r} has too many digits for a cost", ROUNDS)
    else:
        return True
    return False


def _getter(sites: list[int]) -> Any:
    """A tuple of the values at some sites, out of a flat list."""
    return itemgetter(*sites) if len(sites) > 1 else lambda flat: (flat[sites[0]],)
