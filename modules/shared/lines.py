"""The lines and numbers of a text file, read strictly: what looks like another sign is none."""

_DIGITS = 4000  # of a number; int() takes a few more


def lines_of(text: str) -> list[str]:
    """The lines of a text: only LF, CR LF and CR end one, as in every editor and C program."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def whole_of(word: str) -> int | None:
    """The whole number that a word writes in ASCII digits, with at most a minus; None: no number.

    `int` itself takes more: 2_0, +2, and the digits of every script.
    """
    digits = word[1:] if word[:1] == "-" else word
    plain = digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS
    return int(word) if plain else None
