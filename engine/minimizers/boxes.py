"""Things into as few boxes as will do: each thing in one of some boxes of the same room, each box
that is used at the same price, a box used before the next where rules say so."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors
from engine.factors.amounts import whole_sum
from engine.problem import Problem
from engine.rows import UNKNOWN
from engine.search.boxes import Spent, least_boxes
from engine.search.closed import Closed, Closing
from engine.search.prices import Prices


class Layout(NamedTuple):
    """Where things and boxes stand in a structure."""

    things: Ints  # (m,) their sites, whose values are the boxes
    sizes: list[int]
    used: Ints  # (B,) the site of each box, in the order of values: value 1 is used
    room: int
    order: Ints  # (B,) the boxes, in an order in which they may be used


@dataclass(frozen=True)
class Boxes(Closed):
    """Settles bin packing where few fillings of boxes have to be tried; refuses any other rule, and
    evidence of more than one thing."""

    def unlike(self, factors: Factors) -> str | None:
        return None if layout_of(factors) is not None else "Boxes takes things into boxes"

    def refuses(self, problem: Problem) -> str | None:
        why = super().refuses(problem)
        if why is not None:
            return why
        packed = self._packed(problem)
        if packed is None:
            return "Boxes would try too many fillings"
        for row in range(problem.rows):
            prices = Prices.of(problem.concrete(row))
            if self._price(problem, prices) is None:
                return "Boxes takes one price for each box, and none for things"
            open_ = prices.open & (problem.allowed[row] != 0)
            if packed[0] is not None and self._renamed(problem, open_, packed[0]) is None:
                return "Boxes takes things that may lie in any box, but for one"
        return None

    def _layout(self, problem: Problem) -> Layout:
        layout = layout_of(problem.form.factors)
        assert layout is not None
        return layout

    def _price(self, problem: Problem, prices: Prices) -> int | None:
        """What each box costs; None where they differ, or something else costs."""
        layout, sizes = self._layout(problem), problem.form.factors.sizes
        offset = np.concatenate([[0], np.cumsum(sizes)])
        price = prices.price[offset[layout.used] + 1]
        others = prices.price.copy()
        others[offset[layout.used] + 1] = 0
        alike = len(price) > 0 and price[0] > 0 and (price == price[0]).all() and not others.any()
        return int(price[0]) if alike else None

    def _packed(self, problem: Problem) -> tuple[list[list[int]] | None] | None:
        """As few boxes as will do (None: no number of them); None where that is not found."""
        if "boxes" not in problem.memo:
            layout = self._layout(problem)
            try:
                found = (least_boxes(layout.sizes, layout.room),)
            except Spent:
                found = None
            problem.memo["boxes"] = found
        return problem.memo["boxes"]

    def _renamed(
        self, problem: Problem, open_: np.ndarray, boxes: list[list[int]]
    ) -> list[list[int]] | None:
        """The boxes in an order in which what is open holds; None where more than one thing is
        told its box, or that need not be used."""
        layout, sizes = self._layout(problem), problem.form.factors.sizes
        offset = np.concatenate([[0], np.cumsum(sizes)])
        shut = np.add.reduceat(~open_, offset[:-1])
        told = np.flatnonzero(shut[layout.things])
        if not len(told) and not shut.any():
            return boxes
        if len(told) != 1 or shut[layout.used].any():
            return None
        (thing,) = told.tolist()
        first = int(offset[layout.things[thing]])
        places = np.flatnonzero(open_[first : first + len(layout.used)])
        wanted = int(np.flatnonzero(layout.order == places[0])[0]) if len(places) else len(boxes)
        if len(places) != 1 or wanted >= len(boxes):
            return None
        now, out = next(k for k, box in enumerate(boxes) if thing in box), list(boxes)
        out[now], out[wanted] = out[wanted], out[now]
        return out

    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        layout, packed = self._layout(problem), self._packed(problem)
        price = self._price(problem, prices)
        assert packed is not None and price is not None
        (boxes,) = packed
        if boxes is None or len(boxes) > len(layout.used):
            return None
        boxes = self._renamed(problem, open_, boxes)
        assert boxes is not None
        chosen = np.zeros(len(factors.sizes), dtype=np.int64)
        for box, things in zip(layout.order.tolist(), boxes, strict=False):
            chosen[layout.things[things]] = box
            chosen[layout.used[box]] = 1
        return Closing(chosen, price * len(boxes), UNKNOWN)


def layout_of(factors: Factors) -> Layout | None:
    """The things and boxes of a structure that has nothing else: a sum for each box, over all
    things in it and its own site, and clauses by which one is used before another."""
    sums, sizes = factors.sums, factors.sizes
    others = (factors.counted, factors.different, *factors.others)
    if not sums.count or any(family.count for family in others) or len(sums.start) < 2:
        return None
    used, things, told, room, value = [], None, None, None, []
    for k in range(sums.count):
        at = slice(int(sums.start[k]), int(sums.start[k + 1]))
        whole = whole_sum(sums, k)
        if whole is None or whole[1] != -np.inf or whole[2] != 0:
            return None
        site, place, coef = sums.site[at], sums.value[at], whole[0].astype(np.int64)
        box, inside = coef < 0, coef > 0
        if box.sum() != 1 or sizes[site[box][0]] != 2 or place[box][0] != 1:
            return None
        places = np.unique(place[inside])
        sort = np.argsort(site[inside], kind="stable")
        mine, amounts = site[inside][sort], coef[inside][sort]
        if len(places) != 1 or len(np.unique(mine)) != len(mine):
            return None
        own = int(-coef[box][0])
        things = mine if things is None else things
        told, room = amounts if told is None else told, own if room is None else room
        alike = np.array_equal(mine, things) and np.array_equal(amounts, told)
        if not alike or own != room:
            return None
        used.append(int(site[box][0]))
        value.append(int(places[0]))
    assert things is not None and told is not None and room is not None
    boxes = np.array(used, dtype=np.int64)[np.argsort(value, kind="stable")]
    every = np.sort(np.concatenate([things, boxes]))
    wide = (sizes[things] == len(boxes)).all() and sorted(value) == list(range(len(boxes)))
    if not wide or not np.array_equal(every, np.arange(len(sizes))):
        return None
    order = _order(factors, boxes)
    return None if order is None else Layout(things, told.tolist(), boxes, room, order)


def _order(factors: Factors, boxes: Ints) -> Ints | None:
    """The boxes as they may be used one after the other; None where a clause says something
    else."""
    clauses, place = factors.clauses, {int(site): k for k, site in enumerate(boxes)}
    before: list[set[int]] = [set() for _ in boxes]
    for k in range(clauses.count):
        at = slice(int(clauses.start[k]), int(clauses.start[k + 1]))
        site, sign = clauses.site[at], clauses.sign[at] ^ (clauses.value[at] == 0)
        if len(site) != 2 or sign.sum() != 1 or not all(int(s) in place for s in site):
            return None
        before[place[int(site[~sign][0])]].add(place[int(site[sign][0])])
    order: list[int] = []
    while len(order) < len(boxes):
        free = [k for k in range(len(boxes)) if k not in order and before[k] <= set(order)]
        if not free:
            return None
        order.append(free[0])
    return np.array(order, dtype=np.int64)
