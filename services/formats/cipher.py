"""Ciphers: texts under a substitution of the letters a to z, one a line; the solution is the text.

Every letter stands for another one; blanks, signs and capitals stay where they are. Lines with
blanks are judged by counts of letters and blanks, others by counts of letters alone, of which texts
of at least 100 letters have enough. `--given '{"weights": W, "order": N}'` names other counts, made
by `basin train language.ngram`. A line that begins with `#` is left out.
"""

import string
from functools import partial
from typing import Any, ClassVar

from engine.errors import BadQuery, Mistake, Mistakes, shown
from modules.language.ngram.chain import read_chain
from modules.shared.lines import lines_of
from modules.shared.reading.texts import check_utf8
from services.formats.base import Asked, Format, Values, given_values
from services.query import query_of

PLAIN = string.ascii_lowercase
PARTICLES = 4
ORDER = 5  # letters of the longest runs, where the counts have so many
LONGEST = 100_000  # letters of a line


class Cipher(Format):
    name: ClassVar[str] = "cipher"
    suffixes: ClassVar[tuple[str, ...]] = (".cipher",)

    def sniff(self, text: str) -> bool:
        del text  # any text may be one: its name or --format says so
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        counts = _counts(given_values(given, ("weights", "order")))
        check_utf8(text)
        wrong, out = Mistakes(), list[Asked]()
        for number, line in enumerate(lines_of(text), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if not any(sign in PLAIN for sign in line.lower()):
                wrong.add(number, f"{shown(line)} has no letter a to z", "give a text in cipher")
            elif len(line) > LONGEST:
                wrong.add(number, f"has {len(line)} signs", f"give at most {LONGEST}")
            else:
                out.append(_asked(line, counts, source, len(out) + 1))
        if not out and not wrong.found:
            wrong.add(1, "there is no text", "give one a line")
        wrong.check()
        return out


def _counts(given: dict[str, Any]) -> dict[str, Any]:
    """The counts that were named, once looked at."""
    wrong: list[Mistake] = []
    weights, order = given.get("weights", "english.safetensors"), given.get("order")
    if not isinstance(weights, str):
        wrong.append(Mistake("--given.weights", f"{shown(weights)} is no name", "name a file"))
    if order is not None and (type(order) is not int or not 1 <= order <= 8):
        wrong.append(
            Mistake("--given.order", f"{shown(order)}", "give a number of letters, 1 to 8")
        )
    if wrong:
        raise BadQuery(*wrong)
    try:
        chain = read_chain(weights, order)
    except BadQuery as error:
        raise error.under("--given") from None
    lacking = [letter for letter in PLAIN if letter not in chain.alphabet]
    if lacking:
        told = f"{weights} knows no {shown(lacking[0])}"
        raise BadQuery(Mistake("--given.weights", told, "count a text of the letters a to z"))
    return given


def _asked(line: str, counts: dict[str, Any], source: str, number: int) -> Asked:
    blanks = any(not sign.isalpha() for sign in line.strip())
    own = {"weights": "english.safetensors" if blanks else "english_joined.safetensors", **counts}
    order = min(ORDER, read_chain(own["weights"]).order)
    query = query_of(
        {
            "variables": {"key": {"values": list(PLAIN), "shape": [len(PLAIN)]}},
            "terms": [
                {
                    "kind": "discrete.all_different",
                    "scope": ["key"],
                    "params": {"lines": [list(range(len(PLAIN)))]},
                },
                {
                    "kind": "language.cipher",
                    "scope": ["key"],
                    "params": {"text": line, "order": order, **own},
                },
            ],
            "budget": {"particles": PARTICLES},
        }
    )
    return Asked(query, source, (number,), partial(deciphered, line), partial(deciphered, line))


def deciphered(line: str, values: Values) -> str:
    """The line with every letter replaced by what the key says, capitals kept."""
    key = dict(zip(PLAIN, values["key"], strict=True))
    out = []
    for sign in line:
        plain = key.get(sign.lower())
        out.append(sign if plain is None else plain.upper() if sign.isupper() else plain)
    return "".join(out)
