"""Lists in pages: a token names the last entry that was sent, so nothing is kept between calls.

Entries that come or go between two pages shift no other: the next page goes on after that name.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from engine.errors import BadQuery, Mistake, shown
from services.settings import Limits

T = TypeVar("T")
CHECK = 4  # bytes of a token that tell it from text a caller made up


@dataclass(frozen=True)
class Window:
    """Which part of a list is asked for: so many entries, after a name."""

    size: int
    after: str  # empty: from the beginning

    @staticmethod
    def of(page_size: int, page_token: str, limits: Limits) -> "Window":
        """The window of a request. Raises BadQuery for a size or a token that is none."""
        mistakes = []
        if page_size < 0:
            remedy = f"give 1 to {limits.page}, or 0 for {limits.page}"
            mistakes.append(Mistake("page_size", f"{page_size} is below 0", remedy))
        after = _name_of(page_token)
        if after is None:
            problem = f"{shown(page_token)} is no page"
            remedy = "give the next_page_token of the page before, or none"
            mistakes.append(Mistake("page_token", problem, remedy))
        if after is None or mistakes:
            raise BadQuery(*mistakes)
        return Window(min(page_size or limits.page, limits.page), after)

    def cut(self, entries: Sequence[T], name: Callable[[T], str]) -> tuple[list[T], str]:
        """The entries of the page, and the token of the next one, empty where there is none.

        entries: all of the list, sorted by names that are not empty and differ.
        """
        left = [entry for entry in entries if name(entry) > self.after]
        page = left[: self.size]
        return page, _token_of(name(page[-1])) if len(left) > len(page) else ""


def _token_of(name: str) -> str:
    """The token of the page that begins after a name."""
    raw = name.encode()
    return base64.urlsafe_b64encode(_check(raw) + raw).decode()


def _name_of(token: str) -> str | None:
    """The name after which the page of a token begins; None where it is no token."""
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        name = raw[CHECK:].decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name if name and _check(raw[CHECK:]) == raw[:CHECK] else None


def _check(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=CHECK, person=b"basin page").digest()
