"""What every command says and ends with: exit codes, mistakes on stderr."""

import sys

from engine.errors import BadQuery, BasinError, Mistake

ANSWERED, REFUSED, FAILED, BROKEN_PIPE, INTERRUPTED = 0, 2, 3, 141, 130


def tell(source: str, error: BasinError) -> None:
    """One line on stderr for each mistake, beginning with the file's name."""
    every = error.mistakes if isinstance(error, BadQuery) else (Mistake("", str(error)),)
    for mistake in every:
        said = f"{source}: {mistake}" if source else str(mistake)
        print(" ".join(said.split("\n")), file=sys.stderr)
