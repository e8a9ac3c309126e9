"""What the summands of a problem say explicitly: each asked once, and what rows pay beside it."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from engine.decimals import Floats, Ints
from engine.domain import Domain, Input
from engine.energy import Choice, Summand, Term, Uneven, absences, enumerate_in_pieces
from engine.energy.kin import Kin, kin_of
from engine.factors import Factors
from engine.problem.form import Form, Piece


@dataclass(frozen=True, eq=False)
class Structures:
    """Pieces of explicit structure of the rows of one problem, made when they are asked for.

    every: the domains of variables and inputs, R rows each. starts: the number of the first site of
    each finite variable. sizes: how many values each finite site has. constants: the variables that
    are the same for all states of a row. root: of the problem without evidence. pieces: what
    each summand says, by place. split: of those that differ by row, what all rows say, and what
    each pays. uneven: of each term that rows cannot share the structure of, which rows may, (R,)
    each. kept: the forms of all problems of the root, by their constants; common: those that are
    explicit as a whole, shared with the same problem on other devices.
    """

    summands: tuple[Summand, ...]
    every: Mapping[str, Domain]
    rows: int
    starts: Mapping[str, int]
    sizes: Ints
    constants: frozenset[str]
    root: "Structures | None"
    pieces: dict[int, Factors | None] = field(default_factory=dict)
    split: dict[int, tuple[Factors, Floats]] = field(default_factory=dict)
    uneven: list[np.ndarray] = field(default_factory=list)
    kept: dict[frozenset[str], Form] = field(default_factory=dict)
    common: dict[frozenset[str], Form] = field(default_factory=dict)

    @cached_property
    def place(self) -> dict[int, int]:
        """Where each summand stands, by its identity."""
        return {id(summand): place for place, summand in enumerate(self.summands)}

    @property
    def made(self) -> bool:
        """`form` is there."""
        return "form" in vars(self)

    def moved(
        self,
        every: Mapping[str, Domain],
        root: "Structures | None",
        summands: tuple[Summand, ...],
    ) -> "Structures":
        """The same pieces, of the same problem on another device; summands: as they are there."""
        kept = {} if root is None else root.kept
        other = replace(self, every=every, root=root, summands=summands, kept=kept)
        if "costs" in vars(self):
            vars(other)["costs"] = self.costs
        if self.made and self.form.rest is None:
            vars(other)["form"] = self.form
        return other

    def hand_on(self, other: "Structures", costs: Callable[[int], Floats]) -> None:
        """What was asked of terms about these rows is not asked again of other rows of the same
        form; costs: what those pay beside the term at a place."""
        if not self.made or self.uneven or other.constants != self.constants:
            return
        vars(other)["form"] = self.form
        for place, own in self.pieces.items():
            if place in self.split:
                skeleton = self.split[place][0]
                other.split[place] = skeleton, costs(place)
                other.pieces[place] = skeleton.gathered(other.split[place][1])
            elif own is None or not self.summands[place].term.enumerates:
                other.pieces[place] = own

    def scope(self, term: Term) -> list[Domain]:
        """The domains of a term's scope, R rows each."""
        return [view.of(self.every[view.variable.name]) for view in term.scope]

    def sites_of(self, term: Term) -> np.ndarray:
        """The number of each finite site in the scope of a term, in its order. -> (n,)"""
        every = [
            self.starts[view.variable.name] + view.places.reshape(-1)
            for view in term.scope
            if view.variable.name in self.starts
        ]
        return np.concatenate([np.zeros(0, np.int64), *every])

    def beside(self, term: Term) -> bool:
        """Whether a term has a structure only beside what is given in the rows."""
        beside = [v.variable for v in term.scope if v.variable.name not in self.starts]
        return bool(beside) and all(
            isinstance(v, Input) or v.name in self.constants for v in beside
        )

    @cached_property
    def kin(self) -> tuple[Kin, ...]:
        """The summands that are asked together."""
        return kin_of(self.summands) if self.root is None else self.root.kin

    @cached_property
    def together(self) -> tuple[Piece, ...]:
        """What summands say that are asked together."""
        if self.root is not None:
            return tuple(piece for piece in self.root.together if self._unasked(piece.places))
        out = []
        for kin in self.kin:
            term = kin.terms[0]
            seen = all(view.variable.name in self.starts for view in term.scope)
            if seen and term.fixed_structure and self._unasked(kin.places):
                own = kin.structured(self.scope(term))
                if own is not None:
                    out.append(Piece(kin.places, own, self.sites_of(term)))
        return tuple(out)

    def _unasked(self, places: Iterable[int]) -> bool:
        """None of these summands was asked by itself."""
        return not any(place in self.pieces for place in places)

    def of(self, place: int) -> Factors | None:
        """What the summand at this place says over the sites of its scope; asked for once."""
        for _ in self.asking(place):
            pass
        return self.pieces[place]

    def asking(self, place: int) -> Iterator[None]:
        """`of` in pieces."""
        if place in self.pieces:
            return
        summand, own = self.summands[place], None
        beside = self.beside(summand.term)
        if self.root is not None and summand.term.fixed_structure and not beside:
            yield from self.root.asking(place)
            self.pieces[place] = self.root.pieces[place]
            return
        if beside or all(view.variable.name in self.starts for view in summand.term.scope):
            try:
                own = yield from self._asked_for(summand)
            except Uneven as rows:
                self.uneven.append(rows.pattern)
        self.pieces[place] = own
        yield

    def _asked_for(self, summand: Summand) -> Generator[None, None, Factors | None]:
        """What a term says explicitly, asked for now."""
        domains = self.scope(summand.term)
        if summand.term.enumerates and not isinstance(summand.term, Choice):
            own = yield from enumerate_in_pieces(summand.term, domains, summand.weight)
        else:
            own = summand.term.structured(summand.weight, *domains)
        return absences(summand.term, own, domains)

    def shares(self, place: int) -> tuple[Factors | None, Floats]:
        """What a summand says in all rows, and what each row pays beside it. -> (R, F)"""
        own = self.of(place)
        if own is None or not own.by_row:
            return own, np.zeros((self.rows, 0))
        if place not in self.split:
            self.split[place] = own.split(self.rows)
        return self.split[place]

    @cached_property
    def costs(self) -> Floats:
        """What each row pays for the combinations of the tables that vary, one table after the
        other. -> (R, F)"""
        each = [self.shares(place)[1] for place in self._alone]
        return np.concatenate([np.zeros((self.rows, 0)), *each], 1)

    def prepare(self) -> Iterator[None]:
        """Makes `form` in pieces, a term each, for whoever looks at the clock between them;
        nothing is made twice."""
        if self.made and self.form.explicit.prepared:
            return
        _ = self.together
        yield
        for place in self._alone:
            yield from self.asking(place)
        _ = self.form
        yield
        yield from self.form.explicit.prepare()

    @cached_property
    def form(self) -> Form:
        """What the summands say, shared by all problems of the same root that have the same
        constants, as long as they say the same in all but what each row pays."""
        own = (*self.together, *map(self._piece, self._alone))
        known = self._known
        if known is not None and known.fits(own):
            return known
        made = Form.of(self.summands, own, self.sizes)
        if known is None and not self.enumerated and not self.uneven:
            kept = self.common if made.rest is None else self.kept
            kept[self.constants] = made
        return made

    @cached_property
    def _alone(self) -> list[int]:
        """The places of summands that are asked one by one."""
        beside = {place for piece in self.together for place in piece.places}
        return [place for place in range(len(self.summands)) if place not in beside]

    def _piece(self, place: int) -> Piece:
        """What one summand says in all rows."""
        return Piece((place,), self.shares(place)[0], self.sites_of(self.summands[place].term))

    @property
    def _known(self) -> Form | None:
        """The form that is kept for problems of these constants."""
        return self.common.get(self.constants) or self.kept.get(self.constants)

    @cached_property
    def enumerated(self) -> bool:
        """Some structure is a list of what the evidence leaves."""
        return any(
            summand.term.enumerates and not self.beside(summand.term) and self.of(place) is not None
            for place, summand in enumerate(self.summands)
        )

    @property
    def particular(self) -> bool:
        """The structure is no other problem's: it was made from the evidence, or from what is told,
        of these rows alone."""
        return self.root is not None and self._known is not self.form
