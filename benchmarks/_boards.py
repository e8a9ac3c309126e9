"""Boards read from pictures and solved at once, beside reading first and solving then.

python -m benchmarks._boards BOARDS WEIGHTS0 WEIGHTS1 [--count N] [--sets NAME...] [--detail]: BOARDS
holds a folder for each set with its truth.json; WEIGHTS0 were trained without the boards of numbers
divisible by 4, on which they are tested, WEIGHTS1 without the others (`benchmarks._folds` trains
both). One JSON object a set.

At how many nats a clue or a target a board is flagged (`dear`) is chosen for each fold on the
boards of the other one, all sets of a format together: where that comes to least when a wrong board
that is not flagged counts as much as ten right ones that are. No limit may flag more than one right
board in fifty: without that, one wrong board at a usual price flagged one right board in six.

What came out worse: rivals asked one by one with a clue given (40 s and more a board of hex16; all
fillings by price in one search: 10 ms). A notation chosen by chances among its own signs took half
of hex16 for decimal. Clues as sites of their own beside the grid take some thirty times the nodes
of prices at the grid itself. Cuts along columns alone lost seven boards of kenken9. Segmentations
were mended after a look at failures of both folds: numbers of the sets are not free of that.

Digits of these sets fill a box of 20 pixels, as MNIST's do, letters a larger one: so their sizes
tell more of them than those of one person's handwriting would. Boards right without sizes stand
beside. What did not help hex16: training on further with stronger changes of pictures (letters,
told from letters: -ln p 0.070 for 0.073), with mixed pictures (0.077), or plainly (0.075); chances
of two or three such networks (0.069).
"""

import argparse
import hashlib
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks._characters import SETS, in_fold
from benchmarks.common import ROOT, Row, at_least, at_most, missing
from engine.answer import Answer, Flag, Status
from modules.catalogue import Catalogue
from services.cli.ask import COMPLETE
from services.formats.kenken import GIVEN as KENKEN
from services.formats.kenken import WITHIN, KenKenRead, kenken_of
from services.formats.pictured import cells_in
from services.formats.sudoku import SIGNS, sudoku_query
from services.formats.visual_sudoku import (
    GIVEN,
    SIZES,
    WIDTH,
    SudokuRead,
    sudoku_of_pictures,
)
from services.query import Options, Query
from services.reasoner.reason import Reasoner

BATCH = 10  # boards of a query
LAYERS = ("engine", "modules", "services")
DEAR = 10  # right boards that are flagged, to one wrong that is not
RARE = 0.02  # share of right boards that may be flagged for their price


def complete() -> Callable[[Query], list[Answer]]:
    """Answers with proof, as the command line asks for them."""
    reasoner, options = Reasoner(Catalogue(entry_points=False)), Options(minimizer=COMPLETE)
    return lambda query: reasoner.reason(query, options)


class Outcome(NamedTuple):
    """One board."""

    name: str
    fold: int
    right: bool
    near: bool  # flagged: a runner-up comes near, or nothing is proved
    argmax: bool  # reading first and solving then
    plain: bool  # the joint minimum, without the rule that a reading leaves one solution
    sizeless: bool  # without what the sizes of characters say
    proved: bool
    reads: float  # seconds of the processor
    solves: float
    gap: float | None  # to the runner-up
    dear: float  # nats a clue
    misread: int


def sudokus(folder: Path, truth: dict[str, Any], own: "Fold") -> Iterator[Outcome]:
    """Boards of Sudoku, in batches."""
    reason = complete()
    names, weights = own.names, own.weights
    asked = {**GIVEN, "weights": weights, "dear": math.inf}
    for k in range(0, len(names), BATCH):
        some = names[k : k + BATCH]
        since = time.process_time()
        boards = [cells_in((folder / f"{n}.png").read_bytes(), SIZES, WIDTH) for n in some]
        way = "either" if boards[0].n > 9 else "decimal"
        query = sudoku_of_pictures(boards, weights, way)
        told = SudokuRead(query, tuple(boards), {**asked, "notation": way})
        _ = told.prices
        reads = (time.process_time() - since) / len(some)
        since = time.process_time()
        answers = told.finished(reason(query), reason)
        solves = (time.process_time() - since) / len(some)
        joint = reason(sudoku_of_pictures(boards, weights, way, proper=False))
        sizeless = _sizeless(told, answers, reason)
        settled = told.settled(answers, reason, False)
        for row, name in enumerate(some):
            solution = truth[name]["solution"]
            answer = settled[row]
            yield Outcome(
                name,
                own.number,
                _grid(answer) == solution,
                Flag.ABSTAIN in answer.flags,
                _argmax(told, row, reason) == solution,
                _grid(joint[row]) == solution,
                _grid(sizeless[row]) == solution,
                answer.status is Status.OPTIMAL,
                reads,
                solves,
                _gap(answer),
                (answer.energy or 0.0) / int(boards[row].inked.sum()),
                len(told.misread(row, answer.values)) if answer.values else 0,
            )


def _sizeless(
    told: SudokuRead, answers: list[Answer], reason: Callable[[Query], list[Answer]]
) -> list[Answer]:
    """The answers where sizes of characters say nothing; without letters they never do."""
    if told.asked["notation"] == "decimal":
        return answers
    asked = {**told.asked, "sizes": False}
    query = sudoku_of_pictures(told.boards, asked["weights"], asked["notation"], sizes=False)
    return SudokuRead(query, told.boards, asked).finished(reason(query), reason)


def _grid(answer: Answer) -> Any:
    return None if answer.values is None else answer.values["grid"]


def _gap(answer: Answer) -> float | None:
    if not answer.alternatives or answer.energy is None:
        return None
    return answer.alternatives[0].energy - answer.energy


def _argmax(told: SudokuRead, row: int, reason: Callable[[Query], list[Answer]]) -> Any:
    """The likeliest value of each picture, and what then solves the board."""
    cells = told.boards[row]
    plain = told.prices[row].argmin(1) * cells.inked
    puzzle = "".join(SIGNS[v] if v else "." for v in plain.tolist())
    (answer,) = reason(sudoku_query(cells.n, [puzzle]))
    return None if answer.status is not Status.OPTIMAL else _grid(answer)


def kenkens(folder: Path, truth: dict[str, Any], own: "Fold") -> Iterator[Outcome]:
    """Boards of KenKen, one by one: each has cages of its own."""
    reason = complete()
    for name in own.names:
        since = time.process_time()
        raw = (folder / f"{name}.png").read_bytes()
        told = kenken_of(raw, {**KENKEN, "weights": own.weights, "dear": math.inf})
        _ = told.prices
        reads = time.process_time() - since
        since = time.process_time()
        answer = told.deepened(reason(told.query(WITHIN[0]))[0], reason)
        solves = time.process_time() - since
        settled = told.settled([answer], reason, False)[0]
        texts = [told.shapes[len(c)].texts for c in told.cages]
        plain = [t[int(p.argmin())] for t, p in zip(texts, told.prices, strict=True)]
        right = satisfied(truth[name], _grid(settled))
        yield Outcome(
            name,
            own.number,
            right,
            Flag.ABSTAIN in settled.flags,
            plain == _true_texts(told, truth[name]),
            right,
            right,
            settled.status is Status.OPTIMAL,
            reads,
            solves,
            _gap(settled),
            (settled.energy or 0.0) / len(told.cages),
            len(told.misread(settled.values)) if settled.values else 0,
        )


def _true_texts(told: KenKenRead, cages: Any) -> list[str]:
    signs = {"": "", "add": "+", "sub": "-", "mul": "x", "div": "/"}
    every = {min(map(tuple, c["cells"])): f"{int(c['target'])}{signs[c['op']]}" for c in cages}
    return [every[divmod(cage[0], told.cells.n)] for cage in told.cages]


def satisfied(cages: Any, grid: Any) -> bool:
    """Whether a board fills the true cages, rows and columns."""
    if grid is None:
        return False
    x, n = np.array(grid), len(grid)
    lines = [*x, *x.T]
    if any(len(set(line.tolist())) < n for line in lines):
        return False
    for cage in cages:
        own = sorted((int(x[tuple(c)]) for c in cage["cells"]), reverse=True)
        got = {
            "": own[0],
            "add": sum(own),
            "mul": int(np.prod(own)),
            "sub": own[0] - sum(own[1:]),
            "div": own[0] / int(np.prod(own[1:])),
        }[cage["op"]]
        if got != cage["target"]:
            return False
    return True


class Fold(NamedTuple):
    """Boards of a set, and the weights that were trained without them."""

    number: int
    names: list[str]
    weights: str


def measured(
    folder: Path, kind: str, weights: Sequence[str], count: int | None = None
) -> list[Outcome]:
    """Both folds of a set."""
    truth = json.loads((folder / kind / "truth.json").read_text())
    measure = kenkens if is_kenken(kind) else sudokus
    out: list[Outcome] = []
    for fold, own in enumerate(weights):
        names = [name for name in truth if in_fold(name, fold)][:count]
        out += measure(folder / kind, truth, Fold(fold, names, own))
    return out


def kept(work: Path, folder: Path, kind: str, weights: Sequence[str]) -> list[Outcome]:
    """The same, from a folder if it was measured before with these weights and this code."""
    digest = hashlib.blake2b(digest_size=8)
    code = sorted(file for layer in LAYERS for file in (ROOT / layer).rglob("*.py"))
    for path in [*weights, __file__, *code]:
        digest.update(Path(path).read_bytes())
    file = work / f"{kind}.{digest.hexdigest()}.json"
    if file.exists():
        return [Outcome(**one) for one in json.loads(file.read_text())]
    made = measured(folder, kind, weights)
    file.write_text(json.dumps([one._asdict() for one in made], indent=1))
    return made


def is_kenken(kind: str) -> bool:
    """Whether boards of a set are KenKens."""
    return kind.startswith("kenken")


def limit(outcomes: Sequence[Outcome]) -> float:
    """Nats a clue from which boards are best flagged, by boards whose truth is known."""
    own = [o for o in outcomes if not o.near]
    every = sorted({o.dear for o in own})
    between = [math.sqrt(a * b) for a, b in itertools.pairwise(every)]

    def flagged(dear: float) -> int:
        return sum(o.right for o in own if o.dear >= dear)

    def paid(dear: float) -> int:
        return DEAR * sum(not o.right for o in own if o.dear < dear) + flagged(dear)

    rare = [dear for dear in between if flagged(dear) <= RARE * sum(o.right for o in own)]
    return min([*rare, 2 * max(every, default=1.0)], key=paid)


def limits(every: dict[str, list[Outcome]]) -> dict[tuple[bool, int], float]:
    """For each format, KenKen or not, and each fold: chosen on the boards of the other fold."""
    return {
        (kenken, fold): limit(
            [o for kind, own in every.items() for o in own
             if is_kenken(kind) == kenken and o.fold != fold]
        )
        for kenken in (False, True)
        for fold in (0, 1)
    }  # fmt: skip


class Judged(NamedTuple):
    """Boards of a set, and which are flagged."""

    kind: str
    outcomes: list[Outcome]
    flagged: list[bool]

    @property
    def wrong(self) -> list[bool]:
        """Which are wrong and not flagged."""
        return [not o.right and not f for o, f in zip(self.outcomes, self.flagged, strict=True)]


def judged(every: dict[str, list[Outcome]]) -> list[Judged]:
    """All sets, flagged by limits of the other fold."""
    chosen = limits(every)
    return [
        Judged(kind, own, [o.near or o.dear >= chosen[is_kenken(kind), o.fold] for o in own])
        for kind, own in every.items()
    ]


def told(judged: Judged) -> dict[str, Any]:
    """What a set came to."""
    outcomes = judged.outcomes

    def share(values: Sequence[Any]) -> float:
        return round(100 * float(np.mean(values)), 2)

    return {
        "set": judged.kind,
        "boards": len(outcomes),
        "right": sum(o.right for o in outcomes),
        "argmax, then solved": sum(o.argmax for o in outcomes),
        "plain joint minimum": sum(o.plain for o in outcomes),
        "without sizes": sum(o.sizeless for o in outcomes),
        "wrong without ABSTAIN %": share(judged.wrong),
        "abstained %": share(judged.flagged),
        "proved %": share([o.proved for o in outcomes]),
        "read s": round(float(np.median([o.reads for o in outcomes])), 4),
        "solve s": round(float(np.median([o.solves for o in outcomes])), 4),
        "solve s, most": round(float(np.max([o.solves for o in outcomes])), 4),
        "failed": [o.name for o in outcomes if not o.right],
    }


TARGETS = {"sudoku9": 50, "hex16": 46, "numeric16": 49, "kenken5": 49, "kenken7": 49, "kenken9": 48}


def rows(data: Path | None, work: Path) -> list[Row]:
    """Figures of all sets, two folds, with the networks `0.safetensors` and `1.safetensors` of a
    folder: 0, trained without the boards of numbers divisible by 4; 1, without the others. Boards that
    were measured there before are not measured again."""
    weights = [str(work / f"{fold}.safetensors") for fold in (0, 1)]
    lack = "no data folder" if data is None else f"no {work}/0.safetensors and 1.safetensors"
    if data is None or not all(Path(path).exists() for path in weights):
        return [
            missing(f"{kind}: boards right of 50", n, "boards", lack) for kind, n in TARGETS.items()
        ]
    every = {kind: kept(work, data / "images/boards", kind, weights) for kind in TARGETS}
    made: list[Row] = []
    sets = judged(every)
    for own in sets:
        figures = told(own)
        kind, seconds = own.kind, 0.05 if own.kind == "sudoku9" else 0.5
        made += [
            at_least(f"{kind}: boards right of 50", figures["right"], TARGETS[kind], "boards",
                     note=f"ABSTAIN on {figures['abstained %']:g} %, wrong without it "
                          f"{figures['wrong without ABSTAIN %']:g} %"),
            at_least(f"{kind}: by argmax, then solved", figures["argmax, then solved"], None,
                     "boards"),
            at_least(f"{kind}: plain joint minimum", figures["plain joint minimum"], None,
                     "boards"),
            *(
                [at_least(f"{kind}: sizes of characters left out", figures["without sizes"], None,
                          "boards")] if kind == "hex16" else []
            ),
            at_most(f"{kind}: reading a board, median", figures["read s"], 0.3, "s"),
            at_most(f"{kind}: solving a board, median", figures["solve s"], seconds, "s",
                    note=f"most {figures['solve s, most']:.3g} s"),
        ]  # fmt: skip
    wrong, flagged = (
        [w for own in sets for w in own.wrong],
        [f for own in sets for f in own.flagged],
    )
    made += [
        at_most("boards wrong without ABSTAIN", 100 * float(np.mean(wrong)), 1, "%",
                note="limits of each fold chosen on the other"),
        at_most("boards with ABSTAIN", 100 * float(np.mean(flagged)), 10, "%"),
    ]  # fmt: skip
    chosen = limits(every)
    for kenken, name in ((False, "a clue of visual-sudoku"), (True, "a target of kenken")):
        both = [chosen[kenken, fold] for fold in (0, 1)]
        said = " and ".join(f"{dear:.3g}" for dear in both)
        title = f"nats {name} from which boards are flagged, the stricter of both folds"
        made.append(at_most(title, min(both), None, "nats", note=f"{said}; the lower ships"))
    return made


def main() -> int:
    """Measure every set, one line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", type=Path)
    parser.add_argument("weights", nargs=2)
    parser.add_argument("--count", type=int)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--detail", action="store_true")
    wishes = parser.parse_args()
    every = {}
    for kind in wishes.sets:
        every[kind] = measured(wishes.boards, kind, wishes.weights, wishes.count)
        for outcome in every[kind] if wishes.detail else ():
            print(json.dumps({"set": kind, **outcome._asdict()}), flush=True)
    for own in judged(every):
        print(json.dumps(told(own)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
