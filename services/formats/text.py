"""A text: one a file; `_` is a letter that is asked for, all others are given.

Its energy is what it costs under counts of runs of letters, in nats; without a `_` it is scored.
The shipped counts know a to z and blanks: capitals count as small letters, and what else stands
between two letters as one blank. `--given '{"weights": W, "order": N}'` names other counts, made by
`basin train language.ngram`; `"blank": "?"` another sign in place of `_`. The solution is the whole
text, with all that was given to the letter.
"""

from functools import partial
from typing import Any, ClassVar

from engine.errors import BadQuery, Mistake, Mistakes, shown
from modules.language.ngram.chain import Chain, read_chain
from modules.shared.reading.texts import check_utf8
from services.formats.base import Asked, Format, Values, given_values
from services.query import query_of

LONGEST = 10_000  # letters of a text
BLANK = "_"
SECONDS = 10.0  # of a text, unless `--seconds` says otherwise


class Text(Format):
    name: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".text",)

    def sniff(self, text: str) -> bool:
        del text  # any text is one: its name or --format says so
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        own = given_values(given, ("weights", "order", "blank"))
        chain, blank = _chosen(own)
        check_utf8(text)
        text = text.removesuffix("\n")
        letters, places = sites_of(text, chain, blank)
        wrong = Mistakes()
        if not any(letter != " " for letter in letters):
            told = f"has no letter of the alphabet, {shown(''.join(chain.alphabet))}"
            wrong.add(1, told, f"write a text, {blank} for a letter that is asked for")
        elif len(letters) > LONGEST:
            wrong.add(1, f"has {len(letters)} letters", f"give at most {LONGEST}")
        wrong.check()
        params = {name: own[name] for name in ("weights", "order") if name in own}
        query = query_of(
            {
                "variables": {"text": {"values": list(chain.alphabet), "shape": [len(letters)]}},
                "terms": [{"kind": "language.ngram", "scope": ["text"], "params": params}],
                "evidence": {"text": letters},
                "budget": {"seconds": SECONDS},
            }
        )
        filled = partial(written, text, places, letters)
        return [Asked(query, source, (1,), filled, filled)]


def _chosen(given: dict[str, Any]) -> tuple[Chain, str]:
    """The counts, and the sign for what is asked."""
    wrong: list[Mistake] = []
    weights, order = given.get("weights", "english.safetensors"), given.get("order")
    blank = given.get("blank", BLANK)
    if not isinstance(weights, str):
        wrong.append(Mistake("--given.weights", f"{shown(weights)} is no name", "name a file"))
    if order is not None and (type(order) is not int or not 1 <= order <= 8):
        wrong.append(
            Mistake("--given.order", f"{shown(order)}", "give a number of letters, 1 to 8")
        )
    if not isinstance(blank, str) or len(blank) != 1:
        wrong.append(Mistake("--given.blank", f"{shown(blank)}", "give one sign"))
    if wrong:
        raise BadQuery(*wrong)
    try:
        return read_chain(weights, order), blank
    except BadQuery as error:
        raise error.under("--given") from None


def sites_of(text: str, chain: Chain, blank: str) -> tuple[list[str | None], list[int]]:
    """The letters of the sites, None where one is asked for, and where each stands in the text.

    What the alphabet lacks counts as a blank after a letter, else as nothing."""
    known = set(chain.alphabet)
    letters: list[str | None] = []
    places: list[int] = []
    for place, sign in enumerate(text):
        letter: str | None = sign.lower() if chain.folded else sign
        if sign == blank:
            letter = None
        elif letter not in known:
            if " " not in known or not letters or letters[-1] == " ":
                continue
            letter = " "
        letters.append(letter)
        places.append(place)
    return letters, places


def written(text: str, places: list[int], letters: list[str | None], values: Values) -> str:
    """The text with what was asked in its place."""
    out = list(text)
    for place, asked, found in zip(places, letters, values["text"], strict=True):
        if asked is None and found is not None:
            out[place] = found
    return "".join(out)
