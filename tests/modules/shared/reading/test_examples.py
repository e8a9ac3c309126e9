"""Examples of a lesson: what is read from files and folders, what is refused, with a remedy."""

import gzip
import io
import math
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.errors import BadQuery, TooLarge
from modules.shared.bits import read_bits
from modules.shared.reading import examples
from modules.shared.reading.examples import is_text, read_numbers, text_of

X = np.random.default_rng(0).integers(0, 256, (5, 2, 3)).astype(np.uint8)
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(x: np.ndarray) -> bytes:
    head = struct.pack(">BBBB", 0, 0, CODES[x.dtype.str[1:]], x.ndim)
    return (
        head + struct.pack(f">{x.ndim}I", *x.shape) + x.astype(x.dtype.newbyteorder(">")).tobytes()
    )


def npy(x: np.ndarray, **more) -> bytes:
    file = io.BytesIO()
    np.save(file, x, **more)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def packed(raw: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as held:
        held.writestr("x.npy", raw)
    return file.getvalue()


def png(pixels, mode=None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).convert(mode).save(file, "PNG")
    return file.getvalue()


def folder(place: Path, **pictures: bytes) -> Path:
    place.mkdir()
    for name, raw in pictures.items():
        (place / f"{name}.png").write_bytes(raw)
    return place


def file(place: Path, raw: bytes | str) -> Path:
    place.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return place


def refused(path: Path, shape=None, key=None) -> str:
    with pytest.raises(BadQuery) as caught:
        read_numbers(path, shape, key)
    assert all(m.remedy for m in caught.value.mistakes)
    return str(caught.value)


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x", "x.npy", "x.txt"])  # the contents tell, not the name
@pytest.mark.parametrize("made", [npy, idx, lambda x: npz(x=x), lambda x: gzip.compress(idx(x))])
def test_arrays_come_back_to_the_bit(tmp_path, made, name):
    found = read_numbers(file(tmp_path / name, made(X)), (2, 3))
    assert found.dtype == np.uint8 and np.array_equal(found, X)


@given(st.sampled_from(sorted(CODES)), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_idx_holds_any_type_and_shape(tmp_path_factory, code, shape):
    x = np.arange(np.prod(shape)).reshape(shape).astype(code)
    path = file(tmp_path_factory.mktemp("idx") / "x", idx(x))
    found = read_numbers(path)
    assert found.dtype == x.dtype and found.dtype.isnative and np.array_equal(found, x)


def test_an_npz_has_arrays_by_name(tmp_path):
    path = file(tmp_path / "x.npz", npz(first=X, second=X[:, :1]))
    assert "holds 2 arrays, 'first', 'second'" in refused(path)
    assert np.array_equal(read_numbers(path, key="first"), X)
    assert np.array_equal(read_numbers(file(tmp_path / "y.npz", npz(only=X))), X)
    assert np.array_equal(read_numbers(path, key="second"), X[:, :1])
    assert "did you mean second" in refused(path, key="secnd")


def test_a_csv_has_a_line_for_each_example(tmp_path):
    text = "a,b,c,d,e,f\n1,2,3,4,5,6\n\n7,8,9,10,11,12.5\n"
    found = read_numbers(file(tmp_path / "x.csv", text), (2, 3))
    assert found.tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12.5]]]
    assert read_numbers(file(tmp_path / "x.csv", "1,2\n3,4")).tolist() == [[1, 2], [3, 4]]


def test_a_folder_of_pictures_is_read_by_name(tmp_path):
    grey = folder(tmp_path / "grey", b=png(X[1]), a=png(X[0]), c=png(X[2], "RGB"))
    (grey / ".hidden").write_text("")
    assert np.array_equal(read_numbers(grey), X[:3])
    colour = np.random.default_rng(1).integers(0, 256, (2, 3, 3)).astype(np.uint8)
    mixed = folder(tmp_path / "mixed", a=png(X[0]), b=png(colour))
    expected = np.stack([np.stack([X[0]] * 3, -1), colour])
    assert np.array_equal(read_numbers(mixed, (2, 3, 3)), expected)


def zipped(place: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(place, "w") as pack:
        for name, raw in members.items():
            pack.writestr(name, raw)
    return place


def test_a_zip_of_pictures_is_read_as_its_folders_would_be(tmp_path):
    """As Omniglot comes, with what systems put beside it."""
    members = {
        "set/": b"",
        "set/b/2.png": png(X[2]),
        "set/b/1.png": png(X[1]),
        "set/a.png": png(X[0]),
    }
    beside = {"__MACOSX/set/._a.png": b"no", "set/.DS_Store": b"no"}
    assert np.array_equal(read_numbers(zipped(tmp_path / "x", **members, **beside)), X[:3])
    said = refused(zipped(tmp_path / "y", **members, **{"set/c.png": b"no", "set/d.txt": b""}))
    assert "picture set/c.png: is no PNG" in said and "picture set/d.txt: is no .png" in said
    assert "one size" in refused(zipped(tmp_path / "z", **members, **{"set/d.png": png(X[0].T)}))


def mat(place: Path, **arrays) -> Path:
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(place, arrays, do_compression=True)
    return place


def test_a_mat_has_its_examples_as_columns(tmp_path):
    """As the Frey faces come: 560 numbers a column, 28 lines of 20."""
    columns = X.reshape(5, 6).T
    assert np.array_equal(read_numbers(mat(tmp_path / "x", ff=columns), (2, 3)), X)
    both = mat(tmp_path / "y", ff=columns, other=columns[:, :2])
    assert "holds 2 arrays" in refused(both)
    assert read_numbers(both, key="other").shape == (2, 6)
    assert "did you mean" in refused(both, key="othre")
    assert "holds no array" in refused(mat(tmp_path / "z", said="words"))
    assert "holds complex numbers" in refused(mat(tmp_path / "w", x=columns * 1j))
    cut = file(tmp_path / "v", (tmp_path / "x").read_bytes()[:-9])
    assert "within an array" in refused(cut)


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4", "f8", "u8", "bool"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_mat_is_read_as_scipy_does(tmp_path, kind, packed):
    io_ = pytest.importorskip("scipy.io")
    for shape in ((1, 1), (3, 4), (2, 3, 5), (0, 2)):
        x = np.arange(math.prod(shape)).reshape(shape).astype(kind)
        held = {"text": "words", "cell": np.array([1, "x"], dtype=object), "x": x, "s": {"a": x}}
        io_.savemat(tmp_path / "x", held, do_compression=packed)
        told = io_.loadmat(tmp_path / "x")["x"]
        got = read_numbers(tmp_path / "x")
        assert got.dtype == told.dtype and np.array_equal(got, np.moveaxis(told, -1, 0))


def mat_by_hand(shape, kind: int, length: int, numbers: bytes, packed=False, flags=6) -> bytes:
    """A .mat of one array `a`, whose numbers are said to be of a kind and a length."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    about = element(6, struct.pack("<II", flags, 0)) + element(1, b"a" * 9)
    lengths = element(5, struct.pack(f"<{len(shape)}i", *shape))
    inside = about[:16] + lengths + about[16:] + struct.pack("<II", kind, length) + numbers
    matrix = struct.pack("<II", 14, len(inside)) + inside
    raw = zlib.compress(matrix) if packed else matrix
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return head + (struct.pack("<II", 15, len(raw)) + raw if packed else raw)


@pytest.mark.parametrize("packed", [False, True])
def test_a_mat_that_lies_is_refused(tmp_path, packed):
    """A reader of SciPy dies of a type that is none."""

    def said(*about, **more):
        return refused(file(tmp_path / "x", mat_by_hand(*about, packed=packed, **more)))

    good = file(tmp_path / "x", mat_by_hand((4, 4), 9, 128, np.ones(16).tobytes(), packed=packed))
    assert np.array_equal(read_numbers(good), np.ones((4, 4)))
    assert "numbers of type 77" in said((4, 4), 77, 128, bytes(128))
    assert "shape [-4, 4]" in said((-4, 4), 9, 128, bytes(128))
    assert "holds 256 bytes of [4, 4]" in said((4, 4), 9, 256, bytes(256))
    assert "ends after 64 of 128 bytes" in said((4, 4), 9, 128, bytes(64))
    assert "holds no array" in said((4, 4), 9, 128, bytes(128), flags=4)
    assert "holds complex" in said((4, 4), 9, 128, bytes(128), flags=6 | 0x800)
    with pytest.raises(TooLarge):
        most = 2**31 - 1
        huge = mat_by_hand((most, most), 9, 128, bytes(128), packed=packed)
        read_numbers(file(tmp_path / "x", huge))


@pytest.mark.parametrize("seed", range(40))
def test_a_broken_mat_is_an_array_or_a_mistake(tmp_path, seed):
    rng = np.random.default_rng(seed)
    raw = bytearray(mat_by_hand((4, 4), 9, 128, np.ones(16).tobytes(), packed=seed % 2 > 0))
    for _ in range(3):
        raw[int(rng.integers(124, len(raw)))] = int(rng.integers(256))
    try:
        read_numbers(file(tmp_path / "x", bytes(raw)))
    except (BadQuery, TooLarge) as error:
        assert str(error)


def test_bits_come_from_texts_arrays_and_pictures(tmp_path):
    bits = X % 2
    lines = ["".join(map(str, row)) for row in bits.reshape(5, 6)]
    rows = [",".join(map(str, row)) for row in bits.reshape(5, 6)]
    pictures = {f"p{k}": png(255 * one) for k, one in enumerate(bits)}
    for path in (
        file(tmp_path / "x.txt", "\n".join(lines)),
        file(tmp_path / "x.csv", "\n".join(rows)),
        file(tmp_path / "x.npy", npy(bits.astype(bool))),
        file(tmp_path / "x.idx", idx(bits)),
        folder(tmp_path / "x", **pictures),
    ):
        assert np.array_equal(read_bits(path, (2, 3)).numpy(), bits), path
    with pytest.raises(BadQuery, match=r"example \[1\]\[0\]\[2\]: 7 is no bit; write 0 and 1"):
        bits[1, 0, 2] = 7
        read_bits(file(tmp_path / "x.npy", npy(bits)), (2, 3))
    with pytest.raises(BadQuery, match="1 examples are too few"):
        read_bits(file(tmp_path / "x.npy", npy(bits[:1])), (2, 3))


def test_texts_are_told_from_arrays(tmp_path):
    assert is_text(file(tmp_path / "a", "0101\n")) and is_text(tmp_path / "none")
    assert is_text(file(tmp_path / "a", gzip.compress(b"0101\n")))
    for raw in (npy(X), npz(x=X), idx(X), png(X[0]), gzip.compress(idx(X))):
        assert not is_text(file(tmp_path / "a", raw))
    assert not is_text(tmp_path)
    assert text_of(file(tmp_path / "a", gzip.compress("é\n".encode()))) == "é\n"
    with pytest.raises(BadQuery, match="line 2: byte 0xe9 is not UTF-8"):
        text_of(file(tmp_path / "a", b"ok\n\xe9\n"))
    with pytest.raises(BadQuery, match="is a directory"):
        text_of(tmp_path)


# --- what is refused --------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


WILD = np.where(X[3, 1, 2] == X, np.nan, X.astype(float))
BROKEN = {
    "empty": (b"", "the file is empty"),
    "npy cut in its header": (npy(X)[:40], "cannot be read|is no .npy"),
    "npy cut": (npy(X)[:-1], "ends after 29 of 30 bytes; copy the file again, whole"),
    "npz cut": (npz(x=X)[:-30], "cannot be read"),
    "npz of another": (packed(b"numpy"), "is no .npy of version 1 or 2"),
    "npz of nothing": (npz(), "holds no array|cannot be read"),
    "idx cut": (idx(X)[:-2], "ends after 28 of 30 bytes"),
    "idx cut in its lengths": (idx(X)[:9], "ends within the lengths of its 3 axes"),
    "idx cut in its type": (idx(X)[:3], "is no IDX file"),
    "idx of an unknown type": (b"\0\0\x07\1\0\0\0\1\5", "is no IDX file"),
    "idx that goes on": (idx(X) + b"\0", "goes on after 30 bytes"),
    "idx of too much": (b"\0\0\x0e\2" + b"\xff" * 8, "the limit is"),
    "gzip cut": (gzip.compress(idx(X))[:-9], "the gzip ends too early"),
    "objects": (npy(np.array([Bomb()]), allow_pickle=True), "holds object, no numbers"),
    "names": (npy(np.array(["a"])), "no numbers"),
    "complex": (npy(np.array([1j])), "no numbers"),
    "one number": (npy(np.array(1.0)), "holds no example"),
    "no example": (npy(X[:0]), "holds no example"),
    "nan": (npy(WILD), r"example 3: has a number that is nan or inf; leave it out"),
    "one picture": (png(X[0]), "is one picture; name a folder of them"),
    "csv with a word": ("1,2\n3,x\n", "line 2, column 2: 'x' is no number"),
    "csv with a gap": ("1,2\n3,\n", "line 2: column 2 is empty"),
    "csv uneven": ("1,2\n3\n4,5,6\n", "line 2: has 1 numbers, the first 2"),
    "csv with nan": ("1,2\n3,nan\n", "example 1: has a number that is nan"),
    "csv of a header": ("a,b\n", "holds no example"),
    "utf-16": ("1,2\n".encode("utf-16"), "UTF-16"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused(tmp_path, case):
    raw, said = BROKEN[case]
    assert re.search(said, refused(file(tmp_path / "x", raw)))


@pytest.mark.parametrize("made", [npy, idx, lambda x: npz(x=x)])
def test_other_shapes_are_refused(tmp_path, made):
    path = file(tmp_path / "x", made(X))
    assert "holds examples of shape [2, 3]; give [3, 2]" in refused(path, (3, 2))
    assert "give [7]" in refused(file(tmp_path / "x", made(X.reshape(5, 6))), (7,))
    assert "of a file that has no names" in refused(file(tmp_path / "x", idx(X)), key="x")


def test_missing_and_strange_files_are_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    assert "is no file to read from" in refused(tmp_path / "pipe")


def test_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "MOST", 1000)
    bomb = npz(x=np.zeros(10_000))
    with pytest.raises(TooLarge, match="80000 bytes of numbers; the limit is 1000"):
        read_numbers(file(tmp_path / "x", bomb))
    flat = png(np.zeros((9, 9), np.uint8))
    pictures = folder(tmp_path / "p", **{f"p{k}": flat for k in "abcde"})
    pack = zipped(tmp_path / "q", **{f"p{k}.png": flat for k in "abcde"})
    columns = mat(tmp_path / "r", x=np.zeros((10, 100)))
    for many in (pictures, pack, columns):
        with pytest.raises(TooLarge):
            read_numbers(many)


def test_pictures_that_do_not_fit_are_refused_one_by_one(tmp_path):
    place = folder(
        tmp_path / "p", a=png(X[0]), b=png(X[1].T), c=png(X[2])[:-20], d=b"no", e=png(X[3]),
        f=png(X[0].astype(np.uint16)), g=png(np.full((2, 3, 4), 9, np.uint8)),
    )  # fmt: skip
    (place / "h.txt").write_text("")
    (place / "i").mkdir()
    (place / "j.png").mkdir()
    os.mkfifo(place / "k.png")
    (tmp_path / "out.png").write_bytes(png(X[0]))
    (place / "l.png").symlink_to(tmp_path / "out.png")
    (place / "m.png").symlink_to(place / "a.png")  # a link that stays inside is a picture
    said = refused(place).splitlines()
    expected = {
        "b": "is 3 x 2, the first 2 x 3; give pictures of one size",
        "c": "cannot be read",
        "d": "is no PNG",
        "f": "16 bits",
        "g": "transparent",
        "h.txt": "is no .png",
        "i": "is no .png",
        "j": "is no file to read from",
        "k": "is no file to read from",
        "l": "lies outside the folder",
    }
    assert len(said) == len(expected)
    for line, (name, problem) in zip(said, expected.items(), strict=True):
        picture = name if "." in name or name == "i" else f"{name}.png"
        assert line.startswith(f"picture {picture}: ") and problem in line


def test_an_empty_folder_is_refused(tmp_path):
    assert "is an empty folder; put PNGs" in refused(tmp_path)


@given(st.data())
def test_no_bytes_end_in_anything_but_numbers_or_a_mistake(tmp_path_factory, data):
    """A file with some bytes changed, or cut."""
    raw = bytearray(data.draw(st.sampled_from([npy(X), npz(x=X), idx(X), b"1,2\n3,4\n"])))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    path = file(tmp_path_factory.mktemp("any") / "x", cut)
    try:
        found = read_numbers(path)
    except BadQuery as error:
        assert all(m.remedy for m in error.mistakes)
    else:
        assert len(found) and np.isfinite(found).all()


def test_nothing_in_a_file_is_run(tmp_path):
    raw = packed(npy(np.array([Bomb()]), allow_pickle=True))
    assert "no numbers" in refused(file(tmp_path / "x", raw))
    assert not Path("/tmp/never").exists()


def test_what_a_zip_lacks_is_told(tmp_path):
    assert "without arrays or PNGs" in refused(zipped(tmp_path / "a", **{"a.txt": b"x"}))
    assert "holds no picture" in refused(zipped(tmp_path / "b", **{".a.png": png(X[0])}))
    assert "holds no array" in refused(zipped(tmp_path / "c", **{"a/": b""}))
    assert "is no PNG" in refused(zipped(tmp_path / "d", **{"a.png": bytes(1 << 20)}))


def test_names_in_a_zip_are_no_commands_of_a_terminal(tmp_path):
    said = refused(zipped(tmp_path / "a", **{"a\n\x1b[31m.png": b"x"}))
    assert "\x1b" not in said and "\n" not in said and "[31m.png" in said
