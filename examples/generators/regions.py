"""Random connected regions of a square board: of equal size, of differing values, or any."""

import random


def neighbours(cell: int, n: int) -> list[int]:
    """The cells that share a side with a cell."""
    r, c = divmod(cell, n)
    beside = [(r - 1, c), (r, c - 1), (r, c + 1), (r + 1, c)]
    return [i * n + j for i, j in beside if 0 <= i < n and 0 <= j < n]


def connected(cells: set[int], n: int) -> bool:
    """Whether one can walk between all cells without leaving them."""
    reached, fringe = set(), [min(cells)]
    while fringe:
        cell = fringe.pop()
        if cell not in reached:
            reached.add(cell)
            fringe += [c for c in neighbours(cell, n) if c in cells]
    return reached == cells


def random_regions(
    start: list[list[int]], n: int, rng: random.Random, swaps: int = 60
) -> list[list[int]]:
    """Regions of unchanged sizes: neighbours exchange cells as long as both stay connected."""
    regions = [set(region) for region in start]
    while swaps:
        a = rng.randrange(n * n)
        b = rng.choice(neighbours(a, n))
        mine, other = (next(r for r in regions if x in r) for x in (a, b))
        if mine is other:
            continue
        back = rng.choice(sorted(other))
        left = (mine - {a}) | {back}
        right = (other - {back}) | {a}
        if connected(left, n) and connected(right, n):
            mine ^= {a, back}
            other ^= {a, back}
            swaps -= 1
    return sorted(sorted(region) for region in regions)


def random_cages(n: int, full: list[int], rng: random.Random, largest: int = 4) -> list[list[int]]:
    """Connected cages of one to `largest` cells that cover the board; values in a cage differ."""
    open_cells = set(range(n * n))
    cages = []
    for first in rng.sample(range(n * n), n * n):
        if first not in open_cells:
            continue
        cage = [first]
        size = rng.randint(2, largest)
        while len(cage) < size:
            held = {full[c] for c in cage}
            reach = {
                c
                for cell in cage
                for c in neighbours(cell, n)
                if c in open_cells and c not in cage and full[c] not in held
            }
            if not reach:
                break
            cage.append(rng.choice(sorted(reach)))
        open_cells -= set(cage)
        cages.append(sorted(cage))
    return sorted(cages)


def random_countries(n: int, count: int, rng: random.Random) -> list[list[int]]:
    """`count` connected regions of any size that cover the board: grown from random cells."""
    owner = {cell: k for k, cell in enumerate(rng.sample(range(n * n), count))}
    while len(owner) < n * n:
        cell = rng.choice(sorted(owner))
        free = [c for c in neighbours(cell, n) if c not in owner]
        if free:
            owner[rng.choice(free)] = owner[cell]
    return [sorted(c for c in owner if owner[c] == k) for k in range(count)]
