"""Rules that were learned from solved examples."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from engine.domain import Domain, Finite, Variable, View
from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, parts_after
from modules.discrete.all_different import AllDifferent
from modules.discrete.at_least_one import AtLeastOne
from modules.discrete.at_most_one import AtMostOne
from modules.discrete.exactly_one import ExactlyOne
from modules.discrete.learned_rules.relations import Lines, pairs_of
from modules.discrete.learned_rules.rules_file import Fitted, fit, load_learned
from modules.discrete.learned_rules.rules_file import Parameters as Parameters
from modules.shared.literals import Counting
from modules.shared.sites import OverSites

Groups = list[list[tuple[int, Any]]]


class LearnedRules(OverSites):
    """Rules found in solved examples: pairs of sites that differ, values that exclude each other.

    E = the energies of the rules it is made of: all_different lines, and groups of literals of
    which at most, at least or exactly one is true; decided: the number of failing lines and groups.
    Affine where no line must differ; no unit. Learned without relations, it speaks of one number of
    sites; learned with relations, of boards of any size. How a rule is found, and how sure it is:
    `significance.py` beside this file. BadQuery: no such file, another number of sites, an unknown
    value, missing lines of a relation.
    """

    def __init__(
        self,
        *scope: Variable | View,
        weights: str,
        relations: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ):
        super().__init__(*scope)
        learned = load_learned(weights)
        fitted = fit(learned, self.layout, self.scope, dict(relations) if relations else None)
        self.rules: list[Term] = _terms(self.scope, fitted, fitted.values(self.layout))
        if not self.rules:
            raise BadQuery(
                Mistake("relations", "have no line of two sites", "then there is nothing to ask")
            )
        self.terms = nn.ModuleList(self.rules)
        self.affine = all(term.affine for term in self.rules)  # type: ignore[misc]

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        first, *rest = (term.energy(*tensors) for term in self.rules)
        return sum(rest, start=first)

    def holds(self, *values: Any) -> bool:
        return all(term.holds(*values) for term in self.rules)

    def factors(self, *domains: Domain) -> Factors:
        pieces, offset = [], 0
        places = list(range(self.layout.sites))
        for term in self.rules:
            own = term.factors(*domains)
            assert own is not None
            own, offset = parts_after(own, offset)
            pieces.append((own, places))
        return Factors.merge(Factors.sizes_of(domains), pieces)

    def floor(self) -> float:
        return 0.0

    def explain(self, *values: Any) -> list[str]:
        return [said for term in self.rules for said in term.explain(*values)]

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.discrete.learned_rules.train import learn  # not needed to ask

        return learn(lesson)

    @classmethod
    def example(cls) -> "LearnedRules":
        digits = tuple(range(1, 10))
        return cls(Variable("grid", Finite(digits, (9, 9))), weights="learned_sudoku.safetensors")


def _terms(scope: Sequence[View], fitted: Fitted, values: list[Any]) -> list[Term]:
    """The rules as terms of kinds that are there already."""
    rules = fitted.learned.rules
    lines: Lines = list(rules.lines)
    most: Groups = []
    exact: Groups = []
    least: Groups = []
    for group, exactly in zip(rules.groups, rules.exact, strict=True):
        literals = [(s, values[place]) for s, place in group]
        (exact if exactly else most).append(literals)
    if rules.relations:
        lines += [line for c in rules.different for line in fitted.lines[rules.relations[c]]]
        _of_relations(fitted, values, most, exact, least)
    asked = [line for line in lines if len(line) > 1]
    terms: list[Term] = [AllDifferent(*scope, lines=asked)] if asked else []
    kinds: list[tuple[type[Counting], Groups]] = [
        (AtMostOne, [group for group in most if len(group) > 1]),
        (ExactlyOne, exact),
        (AtLeastOne, least),
    ]
    return terms + [kind(*scope, groups=groups) for kind, groups in kinds if groups]


def _of_relations(
    fitted: Fitted, values: list[Any], most: Groups, exact: Groups, least: Groups
) -> None:
    """Groups of each line: a value that excludes itself, a value that must stand there; and pairs
    of different values that exclude each other."""
    rules = fitted.learned.rules
    there = {(int(c), int(a)) for c, a in rules.present if c not in rules.different}
    alone = {(int(c), int(a)) for c, a, b in rules.forbidden if a == b}
    for c, a in sorted(there | alone):
        groups = [[(s, values[a]) for s in line] for line in fitted.lines[rules.relations[c]]]
        into = most if (c, a) not in there else exact if (c, a) in alone else least
        into += groups
    for c, a, b in rules.forbidden:
        if a != b:
            pairs = pairs_of(fitted.lines[rules.relations[c]])
            most += [[(i, values[a]), (j, values[b])] for i, j in pairs.tolist()]
            most += [[(i, values[b]), (j, values[a])] for i, j in pairs.tolist()]
