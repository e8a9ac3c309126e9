"""What the DIMACS formats share: lines of words, `c` for comments, one header `p KIND N M`."""

from collections.abc import Iterator, Sequence

from engine.errors import Mistakes, shown
from modules.shared.lines import lines_of, whole_of

Header = tuple[int, int]  # the two numbers of the p line


def lines_of_words(text: str) -> Iterator[tuple[int, list[str]]]:
    """The number and the words of each line that is neither empty nor a comment."""
    for number, line in enumerate(lines_of(text), 1):
        words = line.split()
        if words and words[0][0] != "c":
            yield number, words


def begins(text: str, kinds: Sequence[str]) -> bool:
    """Whether the first line that says something is a header of one of these kinds."""
    words: list[str] = next((words for _, words in lines_of_words(text[:100_000])), [])
    return words[:1] == ["p"] and len(words) > 1 and words[1] in kinds


def header_of(
    words: list[str],
    number: int,
    before: Header | None,
    kinds: Sequence[str],
    form: str,
    wrong: Mistakes,
) -> Header:
    """The numbers of a p line; `before`: those of an earlier one. Raises BadQuery when it is no
    header, as nothing that follows can be judged."""
    if before is not None:
        wrong.add(number, "a second header", "give one p line a file")
        return before
    counts = [whole_of(word) for word in words[2:]]
    known = len(words) > 1 and words[1] in kinds
    if not known or len(counts) != 2 or not all(c is not None and c >= 0 for c in counts):
        wrong.add(number, f"{shown(' '.join(words))} is no header", f"write {form}")
        wrong.check()
    first, second = (count or 0 for count in counts)
    return first, second
