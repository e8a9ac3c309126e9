"""Basin's own query files, YAML or JSON: variables, inputs, terms, evidence, budget.

`--given` is evidence: laid over that of the file site by site, or, as a list, one row each. Files
that evidence names lie in the folder of the query file.
"""

import re
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

from engine.errors import BadQuery, Mistake, shown
from modules.shared.files import Confine
from modules.shared.reading.texts import bare_name
from services.formats.arrays import inside, with_files
from services.formats.base import Asked, Format
from services.query import EvidenceArray, Query, parse_query
from services.query.document import parse_document

_FIRST = re.compile(
    r"\s*(?:#[^\n]*\n\s*|%YAML[^\n]*\n\s*|---\s*)*(?:[{\[]|[\w'\"?-][^\n]*:(?:\s|$))"
)


class QueryFile(Format):
    name: ClassVar[str] = "query"
    suffixes: ClassVar[tuple[str, ...]] = (".yaml", ".yml", ".json")

    def sniff(self, text: str) -> bool:
        return _FIRST.match(text[:100_000]) is not None

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        raw = text.encode("utf-8", "surrogateescape")  # so that bytes that are no text are told
        folder = Path("." if source == "-" else source).parent
        query = with_files(parse_query(raw, bare_name(source)), inside(folder))
        query = _with(query, given, inside(folder))
        return [Asked(query, source, tuple(range(1, query.rows + 1)), dict)]

    def plain(self, text: str) -> Any:
        try:
            return parse_document(text.encode("utf-8", "surrogateescape"))
        except BadQuery:
            return None


def _with(query: Query, given: Any, confine: Confine) -> Query:
    if given is None:
        return query
    rows = given if isinstance(given, list) else [given]
    wrong = [row for row in rows if not isinstance(row, Mapping)]
    if wrong or not rows:
        raise BadQuery(
            Mistake(
                "--given",
                f"{shown(wrong[0] if wrong else given)} is no mapping",
                "give evidence as a JSON object {variable: values}",
            )
        )
    if len(rows) > 1 and query.rows > 1 and len(rows) != query.rows:
        raise BadQuery(
            Mistake(
                "--given",
                f"{len(rows)} rows for the {query.rows} rows of the file",
                f"give one row, or {query.rows}",
            )
        )
    count = max(len(rows), query.rows)
    below = query.evidence if query.rows > 1 else repeat(query.evidence[0], count)
    above = rows if len(rows) > 1 else repeat(rows[0], count)
    try:
        laid = query.changed(evidence=[laid_over(dict(b), a) for b, a in zip(below, above)])
        return with_files(laid, confine)
    except BadQuery as error:
        raise error.under("--given") from None


def laid_over(below: Any, above: Any) -> Any:
    """Evidence over evidence: where `above` is open, what lies below stays."""
    if above is None:
        return below
    if isinstance(below, EvidenceArray) and isinstance(above, list):
        below = below.lists()
    if isinstance(above, Mapping) and isinstance(below, Mapping):
        return {**below, **{name: laid_over(below.get(name), above[name]) for name in above}}
    if isinstance(above, list) and isinstance(below, list) and len(above) == len(below):
        return [laid_over(b, a) for b, a in zip(below, above)]
    return above
