"""Sites whose values are numbers: which, and what each place is worth."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.decimals import Ints
from engine.errors import Mistakes
from engine.factors import ints
from modules.shared.sites import MISTAKES, Layout, check_site, finite, read_lists, whole

LARGEST = 2**40  # of a whole number that is compared


def values_of_site(layout: Layout, site: int) -> list[Any]:
    """The values of a site, by place."""
    return [value for _, value in layout.lookups[int(layout.entry[site])]]


def read_amounts(layout: Layout, entries: Any, path: str) -> list[tuple[int, float]]:
    """Sites and coefficients out of entries [site, coefficient]. Raises BadQuery with every place
    where something is wrong."""
    wrong, out = Mistakes(MISTAKES), []
    for k, entry in enumerate(read_lists(entries, path)):
        if len(entry) != 2:
            form = "write it as [site, coefficient]"
            wrong.add(f"{path}[{k}]", f"{list(entry)!r} has {len(entry)} entries", form)
            continue
        site, coefficient = entry
        good = check_site(layout, site, f"{path}[{k}][0]", wrong)
        if not finite(coefficient):
            problem, remedy = f"{coefficient!r} is no finite number", "give a finite number"
            wrong.add(f"{path}[{k}][1]", problem, remedy)
        elif good and _no_number(layout, int(site), wrong, f"{path}[{k}][0]", finite):
            out.append((int(site), coefficient))
    wrong.check()
    return out


def read_whole(layout: Layout, sites: Sequence[int], path: str) -> list[Ints]:
    """What the places of some sites are worth, whole numbers. Raises BadQuery where they are no
    such numbers. -> (k,) each"""
    wrong, seen, out = Mistakes(MISTAKES), dict[int, Ints](), []
    for j, site in enumerate(sites):
        entry = int(layout.entry[site])
        if entry not in seen:
            good = _no_number(layout, site, wrong, f"{path}[{j}]", _small)
            seen[entry] = ints(values_of_site(layout, site)) if good else ints()
        out.append(seen[entry])
    wrong.check()
    return out


def _small(value: Any) -> bool:
    return whole(value) and abs(int(value)) < LARGEST


def _no_number(layout: Layout, site: int, wrong: Mistakes, path: str, fits: Any) -> bool:
    """Whether all values of a site are numbers of a kind; a complaint if not."""
    odd = next((v for v in values_of_site(layout, site) if not fits(v)), None)
    if odd is not None:
        kind = "whole number" if fits is _small else "number"
        remedy = f"name a site whose values are {kind}s"
        wrong.add(path, f"{layout.name(site)} has the value {odd!r}, which is no {kind}", remedy)
    return odd is None


def padded(worths: Sequence[Ints]) -> Ints:
    """Several rows of numbers as one array, 0 beyond their ends. -> (n, k)"""
    out = np.zeros((len(worths), max(map(len, worths), default=0)), dtype=np.int64)
    for row, worth in zip(out, worths, strict=True):
        row[: len(worth)] = worth
    return out
