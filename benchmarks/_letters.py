"""Figures of language models: bits per character, blanks, rules over text, spelling, candidates.

The texts are windows of the last 5 % of tinyshakespeare_train90, which neither the shipped model nor
the runs beside it were trained on.
"""

import gzip
import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import Row, at_least, at_most, data_folder, missing
from engine.domain import Finite, Variable
from engine.energy import Sum, Term
from engine.energy.lesson import Lesson
from engine.problem import Problem
from engine.settle import answers
from engine.solve import Budget
from modules.discrete.table import Table
from modules.language.acrostic import Acrostic
from modules.language.contains import Contains
from modules.language.excludes import Excludes
from modules.language.letter_counts import LetterCounts
from modules.language.model.causal import Causal, picked, repeated
from modules.language.model.model_file import load_model
from modules.language.model.term import LanguageModel
from modules.language.ngram.term import NGram
from modules.language.pattern import Pattern

SHIPPED = "shakespeare.safetensors"
FILE = "language/tinyshakespeare_train90.txt.gz"
HELD = 0.05
CONTEXT = 256  # characters read before those that are scored
WINDOW, BLANKS, WINDOWS = 100, 10, 40
SETS, LONG, PROMPT = 50, 36, "ROMEO:\n"
DRAWN = 256  # texts drawn side by side
TYPOS, TYPED, WRONG = 20, 60, 3  # texts, their letters, and how many of these are wrong
SLIP = 0.05  # how often a letter is mistyped, as the query has it


def corpus(folder: Path | None) -> str | None:
    """The text; None where the folder of data is not there."""
    path = None if folder is None else folder / FILE
    if path is None or not path.is_file():
        return None
    return gzip.decompress(path.read_bytes()).decode()


def parted(text: str) -> tuple[str, str]:
    """What was learned from, and what was held out."""
    cut = len(text) - int(len(text) * HELD)
    return text[:cut], text[cut:]


@cache
def over(count: int, prompt: str = "") -> LanguageModel:
    """The shipped model over so many open letters."""
    text = Variable("text", Finite(load_model(SHIPPED).pieces, (count,)))
    return LanguageModel(text, weights=SHIPPED, prompt=prompt)


def bits(work: Path, seed: int) -> Iterator[Row]:
    """Bits per character, alone and beside runs; and whether an energy is -ln p."""
    del seed
    alone = f"bits per character on the last 5 % of tinyshakespeare_train90, {SHIPPED} alone"
    plain = "the same without recalling what the text said before (`recall: 0`)"
    mixed = "the same, letter by letter the mean with runs of 6 letters (share 0.2)"
    text = corpus(data_folder(None))
    if text is None:
        yield missing(alone, 2.1, "bits", "no ../shared/data")
        return
    known, held = parted(text)
    work.mkdir(parents=True, exist_ok=True)
    source, runs = work / "known.txt", work / "runs6.safetensors"
    if not runs.exists():
        source.write_text(known)
        NGram.learn(Lesson(source, runs, params={"order": 6}))
    net = load_model(SHIPPED)
    count = sum(p.numel() for p in net.parameters())
    view = Variable("text", Finite(net.pieces, (net.recalls,)))
    own = LanguageModel(view, weights=SHIPPED).model
    both = LanguageModel(view, weights=SHIPPED, runs=str(runs)).model
    few = Variable("text", Finite(net.pieces, (1,)))
    nearly = LanguageModel(few, weights=SHIPPED, runs=str(runs), share=1 - 1e-9).model
    said = [_bits(model, known, held) for model in (own, both, nearly)]
    yield at_most(alone, said[0], 2.1, "bits", note=f"{count} numbers, stored in half precision")
    yield at_most(plain, _bits(net, known, held), 2.1, "bits")
    peer = {"peer": "the better of the two alone", "peer_value": min(said[0], said[2])}
    yield at_most(mixed, said[1], min(said[0], said[2]), "bits", **peer)
    term = over(WINDOW)
    rows = [held[k * 997 : k * 997 + WINDOW] for k in range(20)]
    energies = term.cost(_places(net, rows))
    worst = max(abs(float(e) - _by_hand(net, row)) for e, row in zip(energies, rows, strict=True))
    name = "energy of 20 texts of 100 letters, largest difference from -ln p in float64"
    yield at_most(name, worst, 1e-5, "nats", note=f"relative {worst / float(energies.max()):.1e}")


def _bits(model: Causal, known: str, held: str) -> float:
    """Of the held-out text, each letter given all before it, 256 from before a piece among them."""
    place = model.place
    tokens = torch.tensor([place[c] for c in known[-CONTEXT:] + held])
    count = 16
    each = len(held) // count
    rows = torch.stack([tokens[k * each : k * each + CONTEXT + each] for k in range(count)])
    with torch.no_grad():
        losses = model.losses(repeated(model.begin(), count), rows)[:, CONTEXT:]
    return float(losses.double().mean()) / math.log(2)


def _places(model: Causal, rows: Sequence[str]) -> Tensor:
    return torch.tensor([[model.place[c] for c in row] for row in rows])


def _by_hand(net: Causal, text: str) -> float:
    """-ln p by the formulas of a gated recurrent layer that recalls, a letter at a time, in
    float64."""
    w = {name: t.double() for name, t in net.state_dict().items()}
    h, x, total = torch.zeros(net.hidden, dtype=torch.float64), w["embedding"][-1], 0.0  # type: ignore[arg-type]
    for place, letter in enumerate(text):
        gates = w["inward"] @ x + w["shift_in"]
        others = w["across"] @ h + w["shift_across"]
        (r, z, n), (a, b, c) = gates.chunk(3), others.chunk(3)
        reset, update = (r + a).sigmoid(), (z + b).sigmoid()
        h = (1 - update) * (n + reset * c).tanh() + update * h
        logs = (w["outward"] @ h + w["shift_out"]).log_softmax(0)
        weights, hits = _recalled(text[:place], letter)
        total -= math.log((float(logs[net.place[letter]].exp()) + hits) / (1 + weights))
        x = w["embedding"][net.place[letter]]
    return total


def _recalled(read: str, letter: str) -> tuple[float, float]:
    """What followed the last letters earlier: weights of all that did, and of this letter."""
    every = own = 0.0
    for i in range(len(read) - 1):
        match = 0
        while match <= i and read[i - match] == read[len(read) - 1 - match]:
            match += 1
        weight = 2.0 ** (min(match, 8) - 8) if match >= 3 else 0.0
        every, own = every + weight, own + weight * (read[i + 1] == letter)
    return every, own


def filling(work: Path, seed: int) -> Iterator[Row]:
    """Ten blanks in a row in the middle of a window, both sides known."""
    del work
    name = f"{BLANKS} blanks in the middle of {WINDOWS} windows of {WINDOW} letters, letters right"
    text = corpus(data_folder(None))
    if text is None:
        yield missing(name, None, "share", "no ../shared/data")
        return
    held, rng = parted(text)[1], random.Random(seed)
    term = over(WINDOW)
    model = term.model
    first = (WINDOW - BLANKS) // 2
    problem, right, greedy, lower, seconds = Problem(1.0 * term), 0, 0, 0, 0.0
    for _ in range(WINDOWS):
        start = rng.randrange(len(held) - WINDOW)
        row = held[start : start + WINDOW]
        blank = range(first, first + BLANKS)
        given = [None if k in blank else c for k, c in enumerate(row)]
        began = time.process_time()
        (answer,) = answers(problem.given(text=given))
        seconds += time.process_time() - began
        found, wanted = answer.values["text"][first : first + BLANKS], row[first : first + BLANKS]
        right += sum(a == b for a, b in zip(found, wanted, strict=True))
        left = _greedy(model, row[:first])
        greedy += sum(a == b for a, b in zip(left, wanted, strict=True))
        lower += answer.energy <= float(term.cost(_places(model, [row]))) + 1e-3
    every = WINDOWS * BLANKS
    peer = {"peer": "from left to right, each time the likeliest", "peer_value": greedy / every}
    yield at_least(name, right / every, greedy / every + 0.05, "share", **peer)
    yield at_least(
        "of these, answers that cost no more than the true text", lower / WINDOWS, 0.95, "share"
    )
    yield at_most("CPU seconds for one of these windows", seconds / WINDOWS, None, "s")


def _greedy(model: Causal, text: str) -> str:
    with torch.no_grad():
        known = model.places(model.begin(), _places(model, [text]))[-1]
        out = ""
        for _ in range(BLANKS):
            token = model.following(known).argmax(1)
            out += model.pieces[int(token)]
            known = model.read(known, token)
    return out


def rule_sets(text: Variable, count: int, seed: int) -> Iterator[tuple[Term, ...]]:
    """Mixed rules over a text of `LONG` letters, from easy ones to several at once."""
    rng = random.Random(seed)
    words = ["love", "king", "night", "sword", "heart", "queen", "death", "blood", "crown", "peace"]
    makers = (
        lambda: Contains(text, words=[rng.choice(words)]),
        lambda: Contains(text, words=rng.sample(words, 2)),
        lambda: Excludes(text, words=rng.sample(["th", "ou", "an", "er", "z", "q", "x"], 2)),
        lambda: Acrostic(text, spells="".join(rng.sample("abhimstw", 3))),
        lambda: LetterCounts(text, counts={rng.choice("aeio"): [rng.randint(1, 3), 5]}),
        lambda: LetterCounts(text, counts={"e": 0}),
        lambda: Pattern(text, regex=r"[A-Z][a-z ,']+[.!?]\n[A-Z][\s\S]*"),
        lambda: Pattern(text, regex=r"[A-Za-z ,']+[.!?]"),
        lambda: Pattern(text, regex=r"(\S{1,6}[ \n])+\S{1,6}"),
    )
    for k in range(count):
        some = 1 + k % 3  # one, two or three rules at once
        yield tuple(
            rng.choice(makers)() if k % 3 else makers[(k // 3) % len(makers)]() for _ in range(some)
        )


def constrained(work: Path, seed: int) -> Iterator[Row]:
    """Texts under mixed rules, beside texts drawn from the model until one keeps them."""
    del work
    term = over(LONG, PROMPT)
    text = term.scope[0].variable
    kept, impossible, ours, best, mean, seconds = 0, 0, [], [], [], 0.0
    for k, rules in enumerate(rule_sets(text, SETS, seed)):
        began = time.process_time()
        (answer,) = answers(Problem(sum(rules, 1.0 * term)))
        spent = time.process_time() - began
        seconds += spent
        holds = answer.values is not None and all(r.holds(answer.values["text"]) for r in rules)
        kept += holds
        impossible += not holds and _none(rules)
        found = list(rejection(term, rules, spent, seed + k))
        if found and holds:
            ours.append(float(answer.energy))
            best.append(min(found))
            mean.append(sum(found) / len(found))
    name = f"texts returned under {SETS} mixed sets of rules that satisfy every rule"
    yield at_least(
        name,
        kept / max(1, SETS - impossible),
        1.0,
        "share",
        note=f"{impossible} sets proved to have none",
    )
    many = len(ours)
    name = f"mean energy on the {many} sets where rejection finds any text in the same time"
    if many:
        peer = {"peer": "the best text that rejection finds", "peer_value": sum(best) / many}
        note = f"the mean of its texts {sum(mean) / many:.4g}"
        yield at_most(name, sum(ours) / many, sum(best) / many, "nats", note=note, **peer)
    yield at_most("CPU seconds for one set", seconds / SETS, None, "s")


def _none(rules: Sequence[Term]) -> bool:
    """Whether these rules, by themselves, are proved to leave no text."""
    (answer,) = answers(
        Problem(Sum(*(s for r in rules for s in r.summands()))), budget=Budget(seconds=20)
    )
    return answer.status == "INFEASIBLE"


def rejection(
    term: LanguageModel, rules: Sequence[Term], seconds: float, seed: int
) -> Iterable[float]:
    """The energies of texts drawn from the model that keep the rules, as many as so much CPU time
    brings."""
    model, rng = term.model, torch.Generator().manual_seed(seed)
    end = time.process_time() + seconds
    while time.process_time() < end:
        known = picked(term.known(), torch.zeros(DRAWN, dtype=torch.long))
        total, tokens = torch.zeros(DRAWN, dtype=torch.float64), []
        with torch.no_grad():
            for _ in range(LONG):
                logs = model.following(known)
                token = torch.multinomial(logs.exp(), 1, generator=rng)[:, 0]
                total -= logs.gather(1, token[:, None])[:, 0].double()
                known = model.read(known, token)
                tokens.append(token)
        for row, energy in zip(torch.stack(tokens, 1).tolist(), total.tolist(), strict=True):
            letters = [model.pieces[k] for k in row]
            if all(rule.holds(letters) for rule in rules):
                yield energy


def spelling(work: Path, seed: int) -> Iterator[Row]:
    """Wrong letters put right, and candidates put in order."""
    del work
    name = f"{WRONG} wrong letters in each of {TYPOS} texts of {TYPED}, share of letters right"
    text = corpus(data_folder(None))
    if text is None:
        yield missing(name, None, "share", "no ../shared/data")
        return
    held, rng = parted(text)[1], random.Random(seed)
    term, model = over(TYPED), load_model(SHIPPED)
    view, count = term.scope[0], len(model.pieces)
    other = -math.log(SLIP / (count - 1)) + math.log(1 - SLIP)
    before = after = 0
    for _ in range(TYPOS):
        start = rng.randrange(len(held) - TYPED)
        row = held[start : start + TYPED]
        typed = list(row)
        for k in rng.sample(range(TYPED), WRONG):
            typed[k] = rng.choice("abcdefghijklmnopqrstuvwxyz")
        costs = [[0.0 if p == c else other for p in model.pieces] for c in typed]
        tables = [Table(view, sites=[k], costs=own) for k, own in enumerate(costs)]
        (answer,) = answers(Problem(sum((1.0 * t for t in tables), 1.0 * term)))
        before += sum(a == b for a, b in zip(typed, row, strict=True))
        after += sum(a == b for a, b in zip(answer.values["text"], row, strict=True))
    every = TYPOS * TYPED
    peer = {"peer": "as typed", "peer_value": before / every}
    yield at_least(name, after / every, before / every, "share", **peer)
    yield at_least(*_ranked(held, rng, term, model))


def _ranked(held: str, rng: random.Random, term: LanguageModel, model: Causal):
    """How often the true order of a text's words costs least among 20 orders."""
    right = tried = 0
    for _ in range(40):
        start = rng.randrange(len(held) - TYPED)
        row = held[start : start + TYPED]
        words = row.split(" ")
        if len(words) < 5:
            continue
        orders = {row}
        for _ in itertools.repeat(None, 19):
            middle = words[1:-1]
            rng.shuffle(middle)
            orders.add(" ".join([words[0], *middle, words[-1]]))
        every = [row, *(orders - {row})]
        costs = term.cost(_places(model, every))
        tried, right = tried + 1, right + int(costs.argmin() == 0)
    return "the true order of words is the cheapest of 20 candidates", right / tried, 0.8, "share"
