"""Opens what a user names: a file, a packed one, or `-`; bounded, with plain words for trouble."""

import bz2
import contextlib
import difflib
import lzma
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from engine.errors import BadQuery, Mistake, TooLarge

MOST = 256 << 20  # bytes of one text, unpacked
MEMORY = 512 << 20  # bytes that unpacking an xz may take


class Packing(NamedTuple):
    """One way to pack files: a file may hold several streams of it, one after another."""

    name: str
    suffix: str
    magic: bytes  # what every stream begins with
    opened: Callable[[], Any]  # unpacks one stream: decompress(raw, most), eof, unused_data


PACKINGS = (
    Packing("gzip", ".gz", b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    Packing("bzip2", ".bz2", b"BZh", bz2.BZ2Decompressor),
    Packing(
        "xz",
        ".xz",
        b"\xfd7zXZ\x00",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY),
    ),
)
_BROKEN = (zlib.error, lzma.LZMAError, OSError)
_DOS_END = b"\x1a"  # Ctrl-Z, which ends a text of DOS
_PICTURES = (b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")  # JPEG, GIF, TIFF
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1a\x1b")) + b"\x7f"


def read_text(source: str) -> str:
    """The text of a file; bytes that are not UTF-8 are kept as surrogates, for comments' sake."""
    return as_text(read_bytes(source))


def read_bytes(source: str) -> bytes:
    """What a file holds, unpacked."""
    raw = _bytes(source)
    for packing in PACKINGS:
        if raw.startswith(packing.magic):
            return _unpacked(raw, packing)
    return raw


def head_of(source: str, most: int = 8) -> bytes:
    """The first bytes of what a file holds, unpacked; none where it cannot be read."""
    with contextlib.suppress(*_BROKEN), open(source, "rb") as file:
        raw = file.read(1 << 16)
        for packing in PACKINGS:
            if raw.startswith(packing.magic):
                raw = packing.opened().decompress(raw, most)
                break
        return raw[:most]
    return b""


def as_text(raw: bytes) -> str:
    """Bytes as a text, as `read_text` gives it."""
    body = raw.rstrip(_DOS_END + b" \t\r\n")
    if _DOS_END in raw[len(body) :]:
        raw = body
    if not raw.strip():
        _refuse("line 1", "the file is empty", "write at least one instance")
    head = raw[:65_536]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse("line 1", "the file is UTF-16", "save it as UTF-8")
    if head.startswith(_PICTURES):
        _refuse("", "is a picture, but no PNG", "save it as PNG")
    if strange := len(head) - len(head.translate(None, _CONTROLS)):
        _refuse(
            "line 1",
            f"the file is binary: {strange} bytes of its beginning are no text",
            "give a text file, or one packed by gzip, bzip2 or xz",
        )
    return raw.decode("utf-8-sig", "surrogateescape")


def check_there(source: str) -> None:
    """Refuses what is no file, folder or pipe; what is in it is not looked at."""
    if source != "-" and not os.path.exists(source):
        _refuse("", "no such file", _beside(Path(source)))


def bare_name(source: str) -> str:
    """The name of a file without the suffix of its packing."""
    for packing in PACKINGS:
        if source.lower().endswith(packing.suffix):
            return source[: -len(packing.suffix)]
    return source


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


def _unpacked(raw: bytes, packing: Packing) -> bytes:
    """All streams of a packed file, one after another."""
    out: list[bytes] = []
    room = MOST + 1
    try:
        while raw.startswith(packing.magic) and room > 0:
            stream = packing.opened()
            out.append(stream.decompress(raw, room))
            room -= len(out[-1])
            if not stream.eof and room > 0:
                _refuse("", f"the {packing.name} ends too early", "copy the file again, whole")
            raw = stream.unused_data
    except _BROKEN as error:
        _refuse("", f"the {packing.name} is broken ({error})", "copy the file again, whole")
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
