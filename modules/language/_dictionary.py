"""Lists of words, and how the values of sites spell them."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.decimals import Ints
from engine.errors import BadQuery, Mistake, TooLarge
from modules.shared.reading.texts import read_text
from modules.shared.sites import listed

WORDS = Path(__file__).parent / "_words" / "common_words.txt"
MOST = 2_000_000  # words of a list
SPELLED = 2_000_000  # ways to spell words of one length


def read_words(words: Any, file: str | None) -> frozenset[str]:
    """The words of a list, or of a file. Raises BadQuery under `words` or `file`."""
    if words is not None and file is not None:
        raise BadQuery(Mistake("file", "stands beside words", "give one of both"))
    if words is None:
        path = file or WORDS.name
        there = not Path(path).exists() and Path(path).name == path
        return _read(str(WORDS.parent / path) if there else path, path)
    every = listed(words)
    if not every or not all(isinstance(word, str) and word for word in every):
        raise BadQuery(Mistake("words", f"{words!r}"[:80], "write it as [word, ...]"))
    return frozenset(every)


@lru_cache(maxsize=4)
def _read(path: str, name: str) -> frozenset[str]:
    try:
        text = read_text(path)
    except BadQuery as error:
        first = error.mistakes[0]
        raise BadQuery(Mistake("file", f"{name}: {first.problem}", first.remedy)) from None
    words = frozenset(w for line in text.splitlines() if (w := line.strip()) and w[0] != "#")
    if len(words) > MOST:
        raise TooLarge(Mistake("file", f"{len(words)} words", f"give at most {MOST}"))
    if not words:
        raise BadQuery(Mistake("file", f"{name} holds no word", "write one a line"))
    return words


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Words, and how sites of some values spell them."""

    words: frozenset[str]
    tokens: tuple[str, ...]  # what each value spells
    made: dict[int, Ints] = field(default_factory=dict)

    def spelled(self, sites: int) -> Ints:
        """All ways in which so many sites spell a word, by places, each once. -> (T, sites)"""
        if sites not in self.made:
            single = all(len(t) == 1 for t in self.tokens) and len(set(self.tokens)) == len(
                self.tokens
            )
            self.made[sites] = self._letters(sites) if single else self._tokens(sites)
        return self.made[sites]

    def _letters(self, sites: int) -> Ints:
        """Where every value is one letter."""
        place = {t: k for k, t in enumerate(self.tokens)}
        own = sorted(w for w in self.words if len(w) == sites and all(c in place for c in w))
        return np.array([[place[c] for c in w] for w in own], np.int64).reshape(-1, sites)

    def _tokens(self, sites: int) -> Ints:
        """Where values may be nothing, or several letters."""
        most = max(map(len, self.tokens), default=0)
        out: list[tuple[int, ...]] = []
        for word in sorted(self.words):
            if len(word) > most * sites:
                continue
            ways: list[tuple[int, tuple[int, ...]]] = [(0, ())]  # letters spelled, and the places
            for left in range(sites - 1, -1, -1):
                ways = [
                    (at + len(t), (*so_far, k))
                    for at, so_far in ways
                    for k, t in enumerate(self.tokens)
                    if word.startswith(t, at) and len(word) - at - len(t) <= most * left
                ]
                if len(ways) + len(out) > SPELLED:
                    told = f"{len(ways)} ways to spell {word!r} by {sites} sites"
                    raise TooLarge(
                        Mistake("words", told, "give fewer words, or values of a letter")
                    )
            out += [so_far for at, so_far in ways if at == len(word)]
        return np.array(sorted(set(out)), np.int64).reshape(-1, sites)

    def full(self, sites: int) -> bool:
        """Whether all that so many sites may spell is a word."""
        return len(self.spelled(sites)) == len(self.tokens) ** sites

    def numbers(self, places: Ints) -> np.ndarray:
        """Lines of places as one number each, the same for the same line. (..., n) -> (...,)"""
        k, n = max(2, len(self.tokens)), places.shape[-1]
        if k**n < 2**62:
            return places.astype(np.int64) @ np.array([k ** (n - 1 - j) for j in range(n)])
        flat = np.ascontiguousarray(places.astype(np.int32)).reshape(-1, n)
        return flat.view(np.dtype((np.void, 4 * n))).reshape(places.shape[:-1])

    def keys(self, sites: int) -> np.ndarray:
        """The numbers of all that is a word."""
        return self.numbers(self.spelled(sites))


@lru_cache(maxsize=16)
def dictionary_of(words: frozenset[str], values: tuple[Any, ...]) -> Dictionary:
    """The words as values spell them; capitals count as small letters where the values have no
    letters of one of both cases."""
    tokens = tuple(map(str, values))
    joined = "".join(tokens)
    if joined == joined.lower() != joined.upper():
        words = frozenset(map(str.lower, words))
    elif joined == joined.upper() != joined.lower():
        words = frozenset(map(str.upper, words))
    return Dictionary(words, tokens)
