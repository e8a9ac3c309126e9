"""How `language.ngram` learns: it counts runs of letters in a text."""

import re
import unicodedata

import numpy as np
from pydantic import Field

from engine.decimals import Ints
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from modules.language.ngram.chain import KIND, Chain, chain_of, packed
from modules.language.ngram.counts import numbered, runs_of
from modules.parameters import Strict, validated
from modules.shared.reading.examples import text_of
from modules.shared.weights import write_weights

MOST = 512  # letters of an alphabet


class Options(Strict):
    """What may be given as `params` of `basin train language.ngram`."""

    order: int = Field(5, ge=1, le=8, description="Letters of the longest runs.")
    alphabet: str | None = Field(
        None,
        description="The letters that count, with a blank where blanks count. Capitals are folded "
        "where it has none, and what it lacks stands for one blank, or for nothing. Not given: "
        "every letter of the text, as it is.",
    )
    least: int = Field(
        1, ge=1, le=1000, description="Longest runs that were met less often are left out."
    )


def learn(lesson: Lesson) -> list[str]:
    """Counts the runs of a text, writes what they say, and tells how well it foretells the last
    twentieth of it, counted without."""
    options = Options(**validated(Options, lesson.params, KIND))
    letters, alphabet, folded = letters_of(text_of(lesson.data), options.alphabet)
    if len(letters) < 100:
        told = f"{len(letters)} letters of the alphabet"
        raise BadQuery(Mistake("line 1", told, "give a text of at least 100"))
    k, cut = len(alphabet), len(letters) - len(letters) // 20
    if k**options.order >= 2**62:
        told = f"runs of {options.order} among {k} letters"
        raise BadQuery(Mistake("params.order", told, "give a smaller order, or a smaller alphabet"))
    tried = chain_of(runs_of(letters[:cut], k, options.order, options.least), alphabet, folded)
    bits = bits_of(tried, letters[cut:])
    runs = runs_of(letters, k, options.order, options.least)
    chain_of(runs, alphabet, folded)  # is not too large
    settings = {
        "alphabet": list(alphabet),
        "order": options.order,
        "folded": folded,
        "bits": round(bits, 4),
        "made": lesson.command,
    }
    write_weights(lesson.out, KIND, packed(runs, settings))
    return [
        f"{len(letters)} letters, {k} different ones, {sum(len(r.keys) for r in runs)} runs",
        f"{bits:.4f} bits a letter in the last twentieth, counted without it",
        f"wrote {lesson.out}",
    ]


def letters_of(text: str, alphabet: str | None) -> tuple[Ints, tuple[str, ...], bool]:
    """The letters of a text as numbers, the alphabet, and whether capitals were folded."""
    if alphabet is None:
        text = text.replace("\r\n", "\n")
        every = tuple(sorted(set(text)))
        if len(every) > MOST:
            told = f"{len(every)} different letters"
            raise BadQuery(Mistake("params.alphabet", told, "name those that count"))
        return numbered(text, every), every, False
    if len(set(alphabet)) < len(alphabet) or not alphabet:
        raise BadQuery(Mistake("params.alphabet", f"{alphabet!r}", "name letters, each once"))
    folded = alphabet == alphabet.lower()
    return numbered(fold(text, alphabet, folded), alphabet), tuple(alphabet), folded


def fold(text: str, alphabet: str, folded: bool) -> str:
    """A text in the letters of an alphabet: accents go, and what else it lacks stands for one blank
    where the alphabet has one, else for nothing."""
    if folded:
        text = unicodedata.normalize("NFKD", text.lower())
        text = "".join(c for c in text if not unicodedata.combining(c))
    others = f"[^{re.escape(alphabet.replace(' ', ''))}]+"
    return re.sub(others, " " if " " in alphabet else "", text)


def bits_of(chain: Chain, letters: Ints) -> float:
    """The mean cost of a letter of a text, in bits."""
    state, total = 0, 0.0
    costs, following = chain.costs, chain.following
    for letter in letters.tolist():
        total += float(costs[state, letter])
        state = int(following[state, letter])
    return total / max(1, len(letters)) / float(np.log(2))
