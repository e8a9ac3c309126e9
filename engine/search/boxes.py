"""Things into as few boxes of one room as will do: exactly, where few fillings have to be tried.

A bound counts what large things leave room for; then boxes are filled one by one, each with the
largest thing that is left and as much beside it as fits, and what may be wasted in all is never
exceeded. Things of one size are alike.

Source: Martello and Toth, "Lower bounds and reduction procedures for the bin packing problem",
Discrete Applied Mathematics 1990 (bound); Korf, "A new algorithm for optimal bin packing", AAAI
2002 (filling bin by bin).
"""

from collections.abc import Iterator

Filling = tuple[int, ...]  # how many things of each size
MOST = 20_000  # fillings that are tried


class Spent(Exception):
    """More fillings would have to be tried."""


def least_boxes(sizes: list[int], room: int, most: int = MOST) -> list[list[int]] | None:
    """As few boxes as will do, each the things in it; None where one thing is too large. Raises
    Spent where that takes more fillings."""
    if any(size > room for size in sizes):
        return None
    widths = sorted({size for size in sizes if size > 0}, reverse=True)
    counts = tuple(sizes.count(width) for width in widths)
    search = _Search(widths, room, most)
    boxes = max(bound(sizes, room), 1 if sizes else 0)
    while True:
        found = search.filled(counts, boxes)
        if found is not None:
            return _things(sizes, widths, found, boxes)
        boxes += 1


def bound(sizes: list[int], room: int) -> int:
    """No fewer boxes will do: for each size k, what takes more than the room without k is alone,
    what takes more than half of it is never with another such, and the rest takes its room."""
    best = -(-sum(sizes) // room)
    for k in sorted({size for size in sizes if 2 * size <= room} | {0}):
        alone = [s for s in sizes if s > room - k]
        half = [s for s in sizes if room - k >= s and 2 * s > room]
        small = [s for s in sizes if k <= s and 2 * s <= room]
        left = len(half) * room - sum(half)
        best = max(best, len(alone) + len(half) + max(0, -((left - sum(small)) // room)))
    return best


class _Search:
    """The fillings of boxes; what failed is kept."""

    def __init__(self, widths: list[int], room: int, most: int):
        self.widths, self.room, self.left = widths, room, most
        self.failed: set[tuple[Filling, int]] = set()

    def filled(self, counts: Filling, boxes: int) -> list[Filling] | None:
        """Fillings of so many boxes that hold these things; None where there are none."""
        total = sum(c * w for c, w in zip(counts, self.widths, strict=True))
        if not total:
            return []
        wasted = boxes * self.room - total
        if wasted < 0 or (counts, boxes) in self.failed:
            return None
        for filling in self._fillings(counts, wasted):
            self.left -= 1
            if self.left < 0:
                raise Spent
            rest = tuple(c - f for c, f in zip(counts, filling, strict=True))
            found = self.filled(rest, boxes - 1)
            if found is not None:
                return [filling, *found]
        self.failed.add((counts, boxes))
        return None

    def _fillings(self, counts: Filling, wasted: int) -> Iterator[Filling]:
        """Of one box with the largest thing, nothing left that would fit beside them, no more than
        so much of the room wasted; the fullest come first of those that differ late."""
        first = next(k for k, count in enumerate(counts) if count)
        own = [0] * len(counts)
        own[first] = 1
        yield from self._more(counts, own, first, self.room - self.widths[first], wasted)

    def _more(
        self, counts: Filling, own: list[int], at: int, room: int, wasted: int
    ) -> Iterator[Filling]:
        if at == len(counts):
            fits = any(c > f and w <= room for c, f, w in zip(counts, own, self.widths))
            if room <= wasted and not fits:
                yield tuple(own)
            return
        base, width = own[at], self.widths[at]
        for more in range(min(counts[at] - base, room // width), -1, -1):
            own[at] = base + more
            yield from self._more(counts, own, at + 1, room - more * width, wasted)
        own[at] = base


def _things(
    sizes: list[int], widths: list[int], found: list[Filling], boxes: int
) -> list[list[int]]:
    """Which things are in each box; those without a size are in the first."""
    left = {w: [k for k, size in enumerate(sizes) if size == w] for w in widths}
    out = [
        [left[w].pop() for w, count in zip(widths, filling, strict=True) for _ in range(count)]
        for filling in found
    ]
    out += [[] for _ in range(boxes - len(out))]
    if out:
        out[0] += [k for k, size in enumerate(sizes) if size == 0]
    return out
