"""What a format is: it knows its files, and reads a text into queries that can be asked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engine.answer import Answer
from engine.errors import BadQuery, Mistake, known, shown
from engine.explain.change import SmallestChange
from engine.sampling.marginals import Marginals
from modules.shared.reading.texts import as_text
from services.query import Query
from services.query.wish import Wish

Values = Mapping[str, Any]  # of all variables, as an answer holds them


@dataclass(frozen=True, eq=False)
class Asked:
    """A query over some instances of one file, and how its answers look in the file's format.

    Instances of equal structure are rows of one query; `numbers` are their places in the file.
    """

    query: Query
    source: str
    numbers: tuple[int, ...]  # one a row, counted from 1 within the file
    solution: Callable[[Values], Any]  # as the format writes it, in JSON's types
    picture: Callable[[Values], str] | None = None  # for people; None: the values as tables
    restored: Callable[[int, Any], Any] | None = None  # (row, solution) -> with what the file held
    chances: "Chances | None" = None  # how its marginals look; None: they are not asked for
    marginals: Sequence[Marginals] = ()  # of each row, where they were asked for
    wish: Wish | None = None  # the smallest change for it is asked for, and answers are those
    changes: Sequence[SmallestChange] = ()  # of each row, where they were asked for
    notices: tuple[str, ...] = ()  # how the file was understood, where that may surprise
    pictured: "Pictured | None" = None  # what its answers were read from; None: no picture

    def written(self, row: int, values: Values) -> Any:
        """The solution of a row, as the format writes it."""
        found = self.solution(values)
        return found if self.restored is None else self.restored(row, found)

    def fields(self, row: int, answer: Answer | None = None) -> dict[str, Any]:
        """Further fields of the answer of a row."""
        made: dict[str, Any] = {"smallest": self.changes[row].smallest} if self.changes else {}
        if self.pictured and answer is not None:
            made |= self.pictured.fields(row, answer)
        if self.chances and self.marginals:
            made |= self.chances.fields(self.marginals[row])
        return made

    def beside(self, row: int, solution: Mapping[str, Any]) -> dict[str, str]:
        """What people are shown beside entries of the answer of a row."""
        if not self.chances or not self.marginals:
            return {}
        return self.chances.beside(self.marginals[row], solution)

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of the instances: `file#k`."""
        return tuple(f"{self.source}#{k}" for k in self.numbers)


class Chances(ABC):
    """How the marginals of the rows of a query look in the format of their file."""

    @abstractmethod
    def fields(self, told: Marginals) -> dict[str, Any]:
        """Further fields of the answer of a row, in JSON's types."""

    @abstractmethod
    def beside(self, told: Marginals, solution: Mapping[str, Any]) -> dict[str, str]:
        """What people are shown beside entries of the solution of a row."""


Ask = Callable[[Query], Sequence[Answer]]  # has a query answered as its file was


class Pictured(ABC):
    """What the answers of a file were read from: what a picture says, and what else it may say."""

    @abstractmethod
    def fields(self, row: int, answer: Answer) -> dict[str, Any]:
        """Further fields of the answer of a row, in JSON's types."""

    @abstractmethod
    def said(self, row: int, answer: Answer) -> list[str]:
        """What people are told of the reading of a row."""

    @abstractmethod
    def sheet(self, row: int, answer: Answer) -> npt.NDArray[np.uint8] | None:
        """The picture of a row, what was read there, and the solution, as one picture of (h, w, 3);
        None without a solution."""

    @abstractmethod
    def settled(self, answers: Sequence[Answer], ask: Ask, far: bool) -> list[Answer]:
        """The answers to its query once rival readings were asked for: with the runner-up where it
        comes near, or wherever it is where it may be `far`; ABSTAIN where it comes too near."""


class Format(ABC):
    """One way to write instances down. A file in this package that holds one is found."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()  # of file names, before that of a packing

    @abstractmethod
    def sniff(self, text: str) -> bool:
        """Whether a text looks like this format; asked when its file name says nothing."""

    @abstractmethod
    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        """The queries of a text. `given` is what `--given` holds, None without it.

        Raises BadQuery with every mistake; paths are lines or fields, without the file's name.
        """

    def sniff_raw(self, raw: bytes) -> bool:
        """Whether what a file holds looks like this format, where that is no text."""
        del raw
        return False

    def read_raw(self, raw: bytes, source: str, given: Any) -> list[Asked]:
        """The queries of what a file holds; as `read`, which reads its text."""
        return self.read(as_text(raw), source, given)

    def plain(self, text: str) -> Any:
        """The query of a text that `read` refused, as plain data to be looked at part by part.

        The default is None: of instances of a standard format `read` tells every mistake.
        """
        del text


def given_values(given: Any, names: Sequence[str]) -> dict[str, Any]:
    """What `--given` holds for a format that asks for some values by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadQuery(
            Mistake("--given", f"{shown(given)} is no mapping", "give a JSON object {name: value}")
        )
    wrong = [name for name in given if name not in names]
    if wrong:
        remedy = known(wrong[0], names) if names else "this format asks for no values: leave it out"
        raise BadQuery(
            *(
                Mistake(f"--given.{name}", f"{shown(name)} is none of its values", remedy)
                for name in wrong
            )
        )
    return dict(given)
