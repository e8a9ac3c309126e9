"""What a smallest change is, as plain data: an answer, and the sites at which it differs."""

from dataclasses import dataclass

from engine.answer import Answer, Place


@dataclass(frozen=True)
class SmallestChange:
    """How one row changes so that its required rules hold under what is wanted."""

    answer: Answer
    changed: tuple[Place, ...]  # sites whose values change, with the values as they stood
    smallest: bool  # nothing fewer works: proved by the search, or ruled out by enumeration
