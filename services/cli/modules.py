"""`--module`: kinds of one's own beside those that are installed, for one call of a command."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import BadQuery, Mistake

if TYPE_CHECKING:
    from modules.catalogue import Catalogue

HINT = "a kind of your own: --module FILE.py"


def catalogue_of(modules: Sequence[str] = (), server: str | None = None) -> "Catalogue":
    """All kinds that are installed, and those of some files. Raises BadQuery where a file cannot
    be loaded, and beside a service, which has kinds of its own."""
    if modules and server is not None:
        what = "is for questions that this process answers"
        remedy = f"host it: basin host {modules[0]}, and basin serve --remote KIND=HOST:PORT"
        raise BadQuery(Mistake("--module", what, remedy))
    from modules.catalogue import Catalogue  # loads torch

    catalogue = Catalogue(also=tuple(modules), hint=HINT)
    wrong: list[Mistake] = []
    for spec in modules:
        try:
            catalogue.spoken(spec)
        except BadQuery as error:
            wrong += [Mistake(f"--module {m.path}", m.problem, m.remedy) for m in error.mistakes]
    if wrong:
        raise BadQuery(*wrong)
    return catalogue
