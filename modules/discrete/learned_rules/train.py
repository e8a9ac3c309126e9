"""How `discrete.learned_rules` learns: rules by test, couplings by Emmental pseudo-likelihood."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from engine.decimals import Floats
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake, known
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood
from engine.learning.objectives.sparse import Sparse
from modules.discrete.learned_rules.examples import Solved, read_solved
from modules.discrete.learned_rules.pair_model import couplings_of, states
from modules.discrete.learned_rules.relations import GEOMETRY, all_pairs, geometric
from modules.discrete.learned_rules.rules_file import Learned
from modules.discrete.learned_rules.search import Rules, find_rules
from modules.shared.reading.examples import text_of
from modules.shared.training import one_thread

STEPS = 400
BATCH = 50
RATE = 0.05
STRENGTH = 0.4  # of the price, in units of sqrt(ln couplings / examples)
TABLES = 500_000  # couplings up to which they are trained
SHOWN = 40  # lines of one kind in a report


@dataclass(frozen=True)
class Options:
    """What may be given as `params`.

    relations: whose lines share their rules (row, column, box, diagonal, or names that each example
    gives lines of); none: every pair of sites on its own. values: what may stand at a site; none:
    whatever does. confidence, noise, alike: see finding.find_rules.
    """

    relations: tuple[str, ...] = ()
    values: tuple[str, ...] | None = None
    confidence: float = 0.99
    noise: float = 0.1
    alike: bool | None = None

    @staticmethod
    def of(params: Mapping[str, Any]) -> "Options":
        """Checked. Raises BadQuery under `params`."""
        names = [f.name for f in fields(Options)]
        wrong = [
            Mistake(
                f"params.{name}", f"unknown field, with the value {value!r}", known(name, names)
            )
            for name, value in params.items()
            if name not in names
        ]
        given = {name: value for name, value in params.items() if name in names}
        for name in ("relations", "values"):
            value = given.get(name)
            if value is None:
                given.pop(name, None)
            elif isinstance(value, (list, tuple)):
                given[name] = tuple(value if name == "relations" else map(str, value))
            else:
                wrong.append(Mistake(f"params.{name}", f"{value!r} is no list", "write [...]"))
        for name in ("confidence", "noise"):
            value = given.get(name, 0.0)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                wrong.append(Mistake(f"params.{name}", f"{value!r}", "give a number below 1"))
        if given.get("alike") not in (None, True, False):
            wrong.append(Mistake("params.alike", f"{given['alike']!r}", "give true, false or null"))
        if wrong:
            raise BadQuery(*wrong)
        return Options(**given)


def learn(lesson: Lesson) -> list[str]:
    """Rules and couplings from a text of solved examples; what was found, in words.

    steps, seconds, seed, work: of the training of the couplings (engine/learning/train.py). Raises
    BadQuery where the text is wrong, or too short to be sure of any rule; nothing is written then.
    """
    learned = learned_from(text_of(lesson.data), Options.of(lesson.params), lesson)
    learned.save(lesson.out)
    return report(learned.rules)


def learned_from(text: str, options: Options, lesson: Lesson | None = None) -> Learned:
    """The same as an object; without a lesson the rules alone."""
    solved = read_solved(text, options.relations, options.values)
    rules = find_rules(solved, options.confidence, options.noise, options.alike)
    return Learned(rules, None if lesson is None else _couplings(solved, rules, lesson))


def _couplings(solved: Solved, rules: Rules, lesson: Lesson) -> Floats | None:
    """Trained couplings; None where there would be more than `TABLES`."""
    energy = couplings_of(solved, rules.alike)
    count = energy.weights.numel()
    if count > TABLES:
        return None
    try:  # Lightning is loaded to train, not to ask
        from engine.learning.examples import Stored
        from engine.learning.recipe import Recipe
        from engine.learning.train import train
    except ImportError as error:
        raise BadQuery(Mistake("", str(error), "install the extra `train`")) from None
    examples = Stored(states(solved))
    sites = examples.x["x"].shape[1]
    # half of the sites hidden: so a rule that others imply still shows (Emmental)
    strength = STRENGTH * math.sqrt(math.log(1 + count) / solved.count) / sites
    objective = Sparse(PseudoLikelihood(holes=sites // 2), strength)
    recipe = Recipe(
        steps=lesson.steps or STEPS,
        batch=BATCH,
        rate=RATE,
        average=None,
        every=100,
        seconds=lesson.seconds,
        seed=lesson.seed,
    )
    with one_thread():
        train(objective, {"energy": energy}, examples, recipe, work=lesson.work)
    return energy.couplings()


def report(rules: Rules) -> list[str]:
    """What was found, in words."""
    said = [
        f"{rules.examples} examples; values {' '.join(rules.values[:30])}"
        + (", none of them special" if rules.alike else ""),
        f"{rules.count} rules, all of them true with confidence {rules.confidence:g}",
    ]
    if rules.relations:
        said += _of_relations(rules)
    else:
        said += _of_pairs(rules)
    if rules.suspects:
        listed = ", ".join(map(str, rules.suspects[:SHOWN]))
        said.append(
            f"{len(rules.suspects)} examples break these rules and were set aside: lines {listed}"
        )
    if rules.open:
        said.append(
            f"{rules.open} more rules are never broken, but {rules.examples} examples are too few"
        )
    if rules.left_out:
        said.append(
            f"{rules.left_out} rules on single values were left out, as no value seems special; "
            'params {"alike": false} takes them in'
        )
    return said


def _of_relations(rules: Rules) -> list[str]:
    names, values = rules.relations, rules.values
    said = [f"{names[c]}: all values differ" for c in rules.different]
    for c, a, b in rules.forbidden:
        two = f"{values[a]} twice" if a == b else f"{values[a]} with {values[b]}"
        said.append(f"{names[c]}: never {two}")
    return said + [f"{names[c]}: {values[a]} stands in every line" for c, a in rules.present]


def _of_pairs(rules: Rules) -> list[str]:
    said = []
    if len(rules.different):
        said.append(f"{len(rules.different)} pairs of sites differ; {len(rules.lines)} groups:")
        said += _short([f"  {name_of(line, rules.sites)}" for line in rules.lines])
    if len(rules.forbidden):
        said.append(f"{len(rules.forbidden)} pairs of values exclude each other:")
        for (_, a, b), (i, j) in zip(
            rules.forbidden[:SHOWN], all_pairs(rules.sites)[rules.forbidden[:SHOWN, 0]], strict=True
        ):
            said.append(f"  site {i} is {rules.values[a]} and site {j} is {rules.values[b]}")
        if len(rules.forbidden) > SHOWN:
            said.append(f"  and {len(rules.forbidden) - SHOWN} more")
    exact = sum(rules.exact)
    if exact:
        said.append(f"{exact} of {len(rules.groups)} groups of values: exactly one holds")
    return said


def name_of(line: list[int], sites: int) -> str:
    """A group of sites in words, with its name on a square board: `row 3: sites 18 19 ...`."""
    side = math.isqrt(sites)
    listed = "sites " + " ".join(map(str, line))
    if side * side != sites:
        return listed
    square = math.isqrt(side) ** 2 == side
    relations = [name for name in GEOMETRY if name != "box" or square]
    for name, lines in geometric(relations, (side, side)).items():
        for k, known_line in enumerate(lines):
            if sorted(known_line) == line:
                return f"{name} {k + 1}: {listed}"
    return listed


def _short(lines: list[str]) -> list[str]:
    rest = len(lines) - SHOWN
    return lines if rest <= 0 else [*lines[:SHOWN], f"  and {rest} more"]
