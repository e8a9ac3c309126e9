"""Opens what a user names: a file, a gzip of one, or `-`; bounded, with plain words for trouble."""

import difflib
import os
import re
import stat
import sys
import zlib
from pathlib import Path
from typing import NoReturn

from engine.errors import BadQuery, Mistake, TooLarge

MOST = 256 << 20  # bytes of one text, unpacked

_GZIP = b"\x1f\x8b"
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1a\x1b")) + b"\x7f"


def read_text(source: str) -> str:
    """The text of a file; bytes that are not UTF-8 are kept as surrogates, for comments' sake."""
    raw = _bytes(source)
    if raw.startswith(_GZIP):
        raw = _unpacked(raw)
    if not raw.strip():
        _refuse("line 1", "the file is empty", "write at least one instance")
    head = raw[:65_536]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse("line 1", "the file is UTF-16", "save it as UTF-8")
    if strange := len(head) - len(head.translate(None, _CONTROLS)):
        _refuse(
            "line 1",
            f"the file is binary: {strange} bytes of its beginning are no text",
            "give a text file, or a gzip of one",
        )
    return raw.decode("utf-8-sig", "surrogateescape")


def check_utf8(text: str) -> None:
    """Refuses a text of `read_text` with bytes that are not UTF-8, where all of it counts."""
    found = re.search("[\udc80-\udcff]", text)
    if found is not None:
        line = 1 + len(re.findall(r"\r\n|\r|\n", text[: found.start()]))
        byte = ord(found[0]) - 0xDC00
        _refuse(f"line {line}", f"byte 0x{byte:02x} is not UTF-8", "save the file as UTF-8")


def _bytes(source: str) -> bytes:
    if source == "-":
        raw = sys.stdin.buffer.read(MOST + 1)
    else:
        path = Path(source)
        try:
            mode = os.stat(path).st_mode
            if stat.S_ISDIR(mode):
                _refuse("", "is a directory", "name files, such as DIRECTORY/*.cnf")
            with path.open("rb") as file:
                raw = file.read(MOST + 1)
        except FileNotFoundError:
            _refuse("", "no such file", _beside(path))
        except (OSError, ValueError) as error:
            _refuse(
                "",
                f"cannot be read: {getattr(error, 'strerror', None) or error}",
                "name a file you may read",
            )
    if len(raw) > MOST:
        _too_large()
    return raw


def _unpacked(raw: bytes) -> bytes:
    """All members of a gzip, one after another."""
    out: list[bytes] = []
    room = MOST + 1
    try:
        while raw.startswith(_GZIP) and room > 0:
            stream = zlib.decompressobj(wbits=31)
            out.append(stream.decompress(raw, room))
            room -= len(out[-1])
            if not stream.eof and room > 0:
                _refuse("", "the gzip ends too early", "copy the file again, whole")
            raw = stream.unused_data
    except zlib.error as error:
        _refuse("", f"the gzip is broken ({error})", "copy the file again, whole")
    if room <= 0:
        _too_large()
    return b"".join(out)


def _beside(path: Path) -> str:
    """A remedy for a misspelt file name: the nearest name in its directory."""
    try:
        names = [entry.name for entry in os.scandir(path.parent)][:10_000]
    except OSError:
        return f"there is no directory {str(path.parent)!r} to read" if path.parent.name else ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"did you mean {path.parent / near[0]}?" if near else "name a file that exists"


def _too_large() -> NoReturn:
    raise TooLarge(Mistake("", f"over {MOST} bytes", f"the limit is {MOST}: split the file"))


def _refuse(path: str, problem: str, remedy: str) -> NoReturn:
    raise BadQuery(Mistake(path, problem, remedy))
