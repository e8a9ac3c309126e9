"""Arrays in files: what is read, what is refused before it is, and where files may lie."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine import Finite, Input, Problem, Real, Variable
from engine.errors import BadQuery, TooLarge
from modules.discrete.table import Table
from services import formats
from services.formats.arrays import inside, nowhere, read_array, with_files
from services.query import ArrayFile, FiniteSpec, NumberInputSpec, RealSpec, query_of
from services.settings import DEFAULT, Limits
from tests.support.command import write

X = np.arange(6, dtype=np.float32).reshape(2, 3) / 8
SPEC = NumberInputSpec(shape=(2, 3))
WHOLE = NumberInputSpec(shape=(2, 3), integer=True)


def read(folder: Path, name: str, spec=SPEC, key=None, limits=DEFAULT):
    return read_array(ArrayFile(name, key), spec, inside(folder), limits)


def refused(folder: Path, name: str, spec=SPEC, key=None, limits=DEFAULT) -> str:
    with pytest.raises(BadQuery) as caught:
        read(folder, name, spec, key, limits)
    assert all(m.path in ("file", "key") or m.path[:1] == "[" for m in caught.value.mistakes)
    assert all(m.remedy for m in caught.value.mistakes)
    return str(caught.value)


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "u1", "<i8", "?", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_comes_back_to_the_bit(tmp_path, dtype, order):
    x = np.array(X * 8, dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", x)
    array = read(tmp_path, "x.npy")
    assert array == x.tolist() and array.present is None
    wide = "float32" if dtype == "<f2" else np.dtype(dtype).newbyteorder("=")
    assert array.values.dtype == wide


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_has_arrays_by_name(tmp_path, save):
    save(tmp_path / "x.npz", first=X, second=X + 1)
    assert "x.npz: holds 2 arrays, 'first', 'second'; name one" in refused(tmp_path, "x.npz")
    assert read(tmp_path, "x.npz", key="first") == X.tolist()
    save(tmp_path / "y.npz", first=X)
    assert read(tmp_path, "y.npz") == X.tolist()
    assert read(tmp_path, "x.npz", key="second") == (X + 1).tolist()
    assert "did you mean second?" in refused(tmp_path, "x.npz", key="secnd")


def picture(pixels, mode=None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).convert(mode).save(file, "PNG")
    return file.getvalue()


GREY = np.array([[0, 51, 255], [102, 3, 4]], dtype=np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "LA"])
def test_a_png_is_numbers_from_0_to_1(tmp_path, mode):
    (tmp_path / "x.png").write_bytes(picture(GREY, mode))
    array = read(tmp_path, "x.png")
    assert array.values.dtype == np.float32
    assert np.array_equal(array.values, GREY / np.float32(255))
    assert np.array_equal(read(tmp_path, "x.png", WHOLE).values, GREY)
    assert np.array_equal(read(tmp_path, "x.png", FiniteSpec(values=[0, 1], shape=(2, 3))).values,
                          GREY)  # fmt: skip
    assert read(tmp_path, "x.png", RealSpec(shape=(2, 3))).values.max() == 1


def test_a_png_in_colour(tmp_path):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    (tmp_path / "x.png").write_bytes(picture(pixels))
    spec = NumberInputSpec(shape=(2, 3, 3), integer=True)
    assert np.array_equal(read(tmp_path, "x.png", spec).values, pixels)
    assert "is in colour" in refused(tmp_path, "x.png")
    (tmp_path / "x.png").write_bytes(picture(GREY))
    assert np.array_equal(read(tmp_path, "x.png", spec).values, np.stack([GREY] * 3, -1))


def paletted(places, palette, **more) -> bytes:
    """A PNG whose pixels are places in a palette of colours."""
    image = Image.fromarray(np.asarray(places, dtype=np.uint8), "P")
    image.putpalette([number for colour in palette for number in colour])
    file = io.BytesIO()
    image.save(file, "PNG", **more)
    return file.getvalue()


def test_a_palette_is_looked_up(tmp_path):
    """What counts is the colour at a place, not the place; also of few bits a pixel."""
    places = np.array([[2, 0, 1], [1, 1, 3]])
    shades = [51, 255, 0, 102]
    (tmp_path / "x.png").write_bytes(paletted(places, [(v, v, v) for v in shades]))
    assert np.array_equal(read(tmp_path, "x.png", WHOLE).values, np.array(shades)[places])
    (tmp_path / "x.png").write_bytes(paletted(places, [(v, v, v) for v in shades], bits=2))
    assert np.array_equal(read(tmp_path, "x.png", WHOLE).values, np.array(shades)[places])
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    (tmp_path / "x.png").write_bytes(paletted(places, colours))
    assert "is in colour" in refused(tmp_path, "x.png")
    spec = NumberInputSpec(shape=(2, 3, 3), integer=True)
    assert np.array_equal(read(tmp_path, "x.png", spec).values, np.array(colours)[places])
    (tmp_path / "x.png").write_bytes(paletted(places, [(v, v, v) for v in shades], transparency=1))
    assert "transparent" in refused(tmp_path, "x.png")


def test_pictures_that_would_be_misread_are_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(picture(np.full((2, 3, 4), 9)))
    assert "transparent" in refused(tmp_path, "x.png")
    Image.fromarray(GREY.astype(np.uint16)).save(tmp_path / "x.png")
    assert "16 bits" in refused(tmp_path, "x.png")
    Image.fromarray(GREY).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / "x.png")
    assert "no PNG" in refused(tmp_path, "x.png")


@pytest.mark.parametrize(
    ("text", "shape", "values"),
    [
        ("1,2,3\n4,5,6\n", (2, 3), [[1, 2, 3], [4, 5, 6]]),
        ("\ufeff1, 2.5 ,1e-3\r\n-4,5,6\r\n\r\n", (2, 3), [[1, 2.5, 1e-3], [-4, 5, 6]]),
        ("1\n2\n3", (3,), [1, 2, 3]),
        ("1,2,3", (3,), [1, 2, 3]),
        ("1,2,3,4", (2, 2), [[1, 2], [3, 4]]),
        ("1,2,3,4\n5,6,7,8", (2, 2, 2), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        (",,\n4,5,6", (2, 3), [None, [4, 5, 6]]),
        ("\n4,5,6\n\n", (2, 3), [None, [4, 5, 6]]),
        ("1\n\n3\n", (3,), [1, None, 3]),
        ("9007199254740993,0,0\n0,0,0", (2, 3), [[2**53 + 1, 0, 0], [0, 0, 0]]),
    ],
)
def test_a_csv_is_numbers(tmp_path, text, shape, values):
    (tmp_path / "x.csv").write_bytes(text.encode())
    assert read(tmp_path, "x.csv", NumberInputSpec(shape=shape)) == values


def test_an_empty_cell_of_a_variable_is_open(tmp_path):
    (tmp_path / "x.csv").write_text("1,,3\n\n")
    assert read(tmp_path, "x.csv", RealSpec(shape=(1, 3))) == [[1, None, 3]]


# --- what is refused --------------------------------------------------------------------------


def npy(header: str, body: bytes = b"", version=(1, 0), size: int | None = None) -> bytes:
    raw = header.encode()
    width = "<H" if version[0] == 1 else "<I"
    count = struct.pack(width, len(raw) if size is None else size)
    return b"\x93NUMPY" + bytes(version) + count + raw + body


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}"
WRONG = [
    ("x.txt", b"1", "no array"),
    ("gone.npy", None, "no such file"),
    ("x.npy", b"", "no .npy"),
    ("x.npy", b"\x93NUMPY\x03\x00" + bytes(9), "version 1 or 2"),
    ("x.npy", npy(GOOD, bytes(23)), "ends after 23 of 24"),
    ("x.npy", npy(GOOD, bytes(24), (2, 0), 2**31), "header of 2147483648"),
    ("x.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}"), "no numbers"),
    ("x.npy", npy("{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3)}"), "no numbers"),
    ("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}", bytes(24)),
     "[3, 2]"),
    ("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10**12,)}"), "cannot be"),
    ("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
     "[1000000000000]"),
    ("x.npy", npy("__import__('os').getcwd()"), "cannot be read"),
    ("x.npy", npy(GOOD, np.full(6, np.nan, "<f4").tobytes()), "nan is not finite"),
    ("x.npy", npy("-" * 9000 + "1"), "cannot be read"),
    ("x.npy", npy("[" * 3000), "cannot be read"),
    ("x.npy", npy("{[]: 1}"), "cannot be read"),
    ("x.npy", npy("{'descr': (), 'fortran_order': False, 'shape': (2, 3)}"), "cannot be read"),
    ("x.npy", npy(GOOD.replace("<f4", "<u8"), np.full(6, 2**64 - 1, "<u8").tobytes()), "64 bits"),
    ("x.csv", b"1,2,3\r4,5,6\r", "cannot be read"),
    ("x.npz", b"PK\x05\x06" + bytes(18), "holds no array"),
    ("x.npz", b"PK", "cannot be read"),
    ("x.png", b"no picture", "no PNG"),
    ("x.csv", b"1,2,a\n4,5,6", "line 1, column 3: 'a' is no number"),
    ("x.csv", b"1,2\n4,5", "shape [2, 2]"),
    ("x.csv", b"1,2,3\n4,5", "give [2, 3]"),
    ("x.csv", b"1,2,3\n\n4,5,6", "shape [3, 3]"),
    ("x.csv", b"1,,3\n4,5,6", "[0]: x.csv: some of its cells are empty"),
    ("x.csv", b"1,2,nan\n4,5,6", "nan is not finite"),
    ("x.csv", b"1,2\n3,4\n5,6", "shape [3, 2]"),
    ("x.csv", b"\xff\xfe1", "UTF-8"),
    ("x.csv", b" " * 2_000, "longer"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), WRONG)
def test_what_holds_no_such_array_is_refused(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    told = refused(tmp_path, name)
    assert said in told and name in told


def test_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[{"a": 1}] * 3] * 2, dtype=object), allow_pickle=True)
    assert "no numbers" in refused(tmp_path, "x.npy")


def test_a_bomb_is_not_unpacked(tmp_path):
    """What is declared decides how much is unpacked, whatever a file would become."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("a.npy", npy(GOOD, X.astype("<f4").tobytes() + bytes(10**8)))
        pack.writestr("b.npy", npy(" " * 60_000, bytes(10**8)))
    assert (tmp_path / "x.npz").stat().st_size < 10**6
    assert read(tmp_path, "x.npz", key="a") == X.tolist()
    assert "header" in refused(tmp_path, "x.npz", key="b")


def test_sizes_are_limited_before_reading(tmp_path):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.csv").write_text("1,2,3\n4,5,6")
    (tmp_path / "x.png").write_bytes(picture(GREY))
    for name in ("x.npy", "x.csv", "x.png"):
        with pytest.raises(TooLarge):
            read(tmp_path, name, limits=Limits(file_bytes=10))
    with pytest.raises(TooLarge, match=r"use \.npy"):
        read(tmp_path, "x.csv", limits=Limits(nodes=5))


@given(st.binary(max_size=300), st.sampled_from([".npy", ".npz", ".png", ".csv"]))
def test_no_file_does_more_than_be_refused(tmp_path_factory, content, suffix):
    folder = tmp_path_factory.getbasetemp()
    (folder / f"x{suffix}").write_bytes(content)
    try:
        read(folder, f"x{suffix}")
    except BadQuery as error:
        assert all(m.path and m.problem and m.remedy for m in error.mistakes)


# --- where files may lie ----------------------------------------------------------------------


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    (folder / "deep").mkdir(parents=True)
    np.save(tmp_path / "out.npy", X)
    np.save(folder / "in.npy", X)
    np.save(folder / "deep" / "in.npy", X)
    (folder / "link.npy").symlink_to(folder / "in.npy")
    (folder / "out.npy").symlink_to(tmp_path / "out.npy")
    (folder / "up").symlink_to(tmp_path)
    (folder / "round.npy").symlink_to(folder / "round.npy")
    os.mkfifo(folder / "fifo.npy")
    (folder / "folder.npy").mkdir()
    return folder


@pytest.mark.parametrize(
    "name", ["in.npy", "./in.npy", "deep/in.npy", "deep/../in.npy", "link.npy"]
)
def test_files_of_the_folder_are_read(home, name):
    assert read(home, name) == X.tolist()
    assert read(home, str(home / name)) == X.tolist()


@pytest.mark.parametrize(
    "name",
    ["../out.npy", "out.npy", "up/out.npy", "round.npy", "fifo.npy", "folder.npy", "a\0.npy",
     "deep/../../out.npy", "~/in.npy", "x" * 5_000 + ".npy"],
)  # fmt: skip
def test_all_others_are_refused(home, name):
    refused(home, name)
    refused(home, str(home / name))


def test_without_a_folder_no_file_is_read(home):
    with pytest.raises(BadQuery, match="--files DIR"):
        read_array(ArrayFile(str(home / "in.npy")), SPEC, nowhere)


LIGHT = """
from engine import Input, Term, Variable


class Light(Term):
    def __init__(self, light: Input, y: Variable):
        super().__init__(light, y)

    def energy(self, light, y):
        return light.sum(1) * y[:, 0]
"""

# --- in queries -------------------------------------------------------------------------------

QUERY = {
    "variables": {"y": {"values": [0, 1], "shape": [2]}, "r": {"low": 0, "shape": [2, 3]}},
    "inputs": {"x": {"shape": [2, 3]}},
    "terms": [],
}


def test_every_mistake_of_every_row_is_told(home):
    query = query_of(
        {**QUERY, "evidence": [{"x": {"file": "in.npy"}, "r": {"file": "in.npy"}},
                               {"x": {"file": "gone.npy"}, "y": {"file": "in.npy"}}]}
    )  # fmt: skip
    with pytest.raises(BadQuery) as caught:
        with_files(query, inside(home))
    assert [m.path for m in caught.value.mistakes] == ["evidence[1].x.file", "evidence[1].y.file"]
    good = query.changed(evidence=[query.evidence[0], {}])
    read_query = with_files(good, inside(home))
    assert read_query.evidence[0] == {"x": X.tolist(), "r": X.tolist()}
    assert with_files(read_query, nowhere) is read_query


def test_a_query_file_names_files_of_its_folder(home, tmp_path):
    text = "variables: {y: {values: [0, 1], shape: [2]}}\ninputs: {x: {shape: [2, 3]}}\nterms: []\n"
    (home / "q.yaml").write_text(text + "evidence: {x: {file: in.npy}, y: [0, null]}\n")
    (asked,) = formats.read(str(home / "q.yaml"))
    assert asked.query.evidence[0]["x"] == X.tolist()
    laid = {"y": [None, 1], "x": [[None, 9, None], None]}
    (asked,) = formats.read(str(home / "q.yaml"), given=laid)
    whole = X.tolist()
    whole[0][1] = 9
    assert asked.query.evidence[0] == {"x": whole, "y": [0, 1]}
    (asked,) = formats.read(str(home / "q.yaml"), given={"x": {"file": "deep/in.npy"}})
    assert asked.query.evidence[0]["x"] == X.tolist()
    with pytest.raises(BadQuery, match=r"evidence\.x\.file"):
        formats.read(str(home / "q.yaml"), given={"x": {"file": "../out.npy"}})
    (home / "q.yaml").write_text(text + "evidence: {x: {file: out.npy}}\n")
    with pytest.raises(BadQuery, match="outside the folder"):
        formats.read(str(home / "q.yaml"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "cells.npy",
            "'cells.npy' is no list; give 2 entries; query files alone name files, as {file: ",
        ),
        ({"fil": "cells.npy"}, "{'fil': 'cells.npy'} is a mapping; did you mean {file: PATH}?"),
        ({"rows": 3}, "{'rows': 3} is a mapping; nest lists as the shape"),
    ],
)
def test_what_stands_for_a_file_and_names_none(basin, given, said):
    write("q.json", {**QUERY, "evidence": {"x": given}})
    done = basin("ask", "q.json")
    assert done.code == 2 and f"evidence.x: {said}" in done.err


def test_a_file_is_named_in_query_files_alone():
    x = Variable("x", Finite((0, 1), (2,)))
    problem = Problem(Table(x, sites=[0], costs=[1, 0]), (x, Input("f", Real((2,)))))
    for name in ("x", "f"):
        with pytest.raises(BadQuery, match=rf"evidence.{name}: .* query files alone name files"):
            problem.given(**{name: {"file": "a.npy"}})


def test_an_input_that_is_forgotten_is_told(basin):
    write("light.py", LIGHT)
    query = {
        "variables": {"y": {"values": [0, 1]}},
        "inputs": {"light": {"shape": [2]}},
        "terms": [{"kind": "light", "scope": ["light", "y"]}],
        "evidence": [{"light": [1, 1]}, {}],
    }
    write("q.json", query)
    done = basin("ask", "q.json", "--module", "light.py")
    assert done.out.count("light: not asked: light is absent") == 1
    assert done.out.count("1 term was not asked") == 1
    told, left = basin("ask", "q.json", "--module", "light.py", "--json").answers
    assert told["findings"][0]["text"] == ""
    assert left["findings"][0] == {
        "term": "light", "holds": None, "required": False, "text": "not asked: light is absent",
    }  # fmt: skip
