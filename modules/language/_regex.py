"""Regular expressions as machines that read letter by letter; `interegular` parses them."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

from interegular import patterns as parsed

from engine.errors import BadQuery, Mistake

NODES = 20_000  # of one expression, its counted repetitions written out
LONGEST = 10_000  # letters of an expression
REMEDY = "write a regular expression, such as [a-z]+(ing|ed)"


@dataclass
class Machine:
    """A machine with free moves: it accepts a text that leads from `start` to `end`."""

    free: list[list[int]] = field(default_factory=list)  # moves that read nothing
    reads: list[list[tuple[frozenset[str], bool, int]]] = field(default_factory=list)  # letters,
    # whether any but these, and the node after
    start: int = 0
    end: int = 0

    def node(self) -> int:
        if len(self.free) >= NODES:
            told = f"needs more than {NODES} steps with its repetitions written out"
            raise BadQuery(Mistake("regex", told, "repeat less"))
        self.free.append([])
        self.reads.append([])
        return len(self.free) - 1

    def reached(self, nodes: Sequence[int]) -> frozenset[int]:
        """These nodes, and all that free moves lead to."""
        seen, left = set(nodes), list(nodes)
        while left:
            for after in self.free[left.pop()]:
                if after not in seen:
                    seen.add(after)
                    left.append(after)
        return frozenset(seen)

    @property
    def first(self) -> frozenset[int]:
        return self.reached([self.start])

    def step(self, state: frozenset[int], letter: str) -> frozenset[int] | None:
        """The nodes after a letter; None: there are none."""
        after = [
            to
            for node in state
            for letters, negated, to in self.reads[node]
            if (letter in letters) is not negated
        ]
        return self.reached(after) if after else None

    def ends(self, state: frozenset[int]) -> bool:
        return self.end in state

    def accepts(self, text: str) -> bool:
        state: frozenset[int] | None = self.first
        for letter in text:
            state = None if state is None else self.step(state, letter)
        return state is not None and self.ends(state)


def machine_of(regex: str) -> Machine:
    """The machine of an expression, which is held against whole texts. Raises BadQuery under
    `regex`."""
    if len(regex) > LONGEST:
        raise BadQuery(Mistake("regex", f"has {len(regex)} letters", f"give at most {LONGEST}"))
    _check_plain(regex)
    try:
        tree = parsed.parse_pattern(regex)
    except parsed.Unsupported as error:
        remedy = "leave it out: the expression is held against the whole text"
        raise BadQuery(Mistake("regex", f"{regex!r}: {error}", remedy)) from None
    except RecursionError:
        raise BadQuery(Mistake("regex", "is nested too deeply", "nest less")) from None
    except Exception:  # parsers of half-open groups and the like raise whatever comes
        raise BadQuery(Mistake("regex", f"{regex!r} is none", REMEDY)) from None
    out = Machine()
    try:
        out.start = out.node()
        out.end = _add(out, tree, out.start, parsed.REFlags(0))
    except RecursionError:
        raise BadQuery(Mistake("regex", "is nested too deeply", "nest less")) from None
    return out


def _check_plain(regex: str) -> None:
    """Raises BadQuery for what `re` refuses, and for what `interegular` reads in another way."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(regex)
    except (re.error, OverflowError) as error:
        raise BadQuery(Mistake("regex", f"{regex!r}: {error}", REMEDY)) from None
    except RecursionError:
        raise BadQuery(Mistake("regex", "is nested too deeply", "nest less")) from None
    if re.search(r"(?<!\\)(\\\\)*\[\^?\]", regex):
        raise BadQuery(Mistake("regex", f"{regex!r} has a class that begins with ]", "write \\]"))


def _add(out: Machine, tree: object, at: int, flags: parsed.REFlags) -> int:
    """Adds what a part reads behind a node, and returns the node after it."""
    if tree is parsed._DOT:
        dots = frozenset() if parsed.REFlags.S in flags else frozenset("\n")
        return _letters(out, at, dots, True)
    match tree:
        case parsed._CharGroup(chars=chars, negated=negated):
            if parsed.REFlags.I in flags:
                chars = frozenset(c for x in chars for c in (x.lower(), x.upper()))
            return _letters(out, at, chars, negated)
        case parsed._Concatenation(parts=parts):
            for part in parts:
                at = _add(out, part, at, flags)
            return at
        case parsed._Repeated(base=base, min=low, max=high):
            return _repeated(out, base, low, high, at, flags)
        case parsed.Pattern(options=options, added_flags=added, removed_flags=removed):
            end = out.node()
            for option in options:
                begin = out.node()
                out.free[at].append(begin)
                out.free[_add(out, option, begin, (flags | added) & ~removed)].append(end)
            return end
        case parsed._NonCapturing():
            told = "looks ahead or behind"
            raise BadQuery(Mistake("regex", told, "write what is meant as a second term"))
    return at  # nothing


def _letters(out: Machine, at: int, letters: frozenset[str], negated: bool) -> int:
    after = out.node()
    out.reads[at].append((letters, negated, after))
    return after


def _repeated(
    out: Machine, base: object, low: int, high: int | None, at: int, flags: parsed.REFlags
) -> int:
    if high is not None and high < low:
        raise BadQuery(Mistake("regex", f"repeats {low} to {high} times", "give the less first"))
    for _ in range(low):
        at = _add(out, base, at, flags)
        out.node()  # counts, where the base reads nothing
    if high is None:
        loop, end = out.node(), out.node()
        out.free[at] += [loop, end]
        out.free[_add(out, base, loop, flags)] += [loop, end]
        return end
    end = out.node()
    out.free[at].append(end)
    for _ in range(high - low):
        begin = out.node()
        out.free[at].append(begin)
        at = _add(out, base, begin, flags)
        out.free[at].append(end)
    return end
