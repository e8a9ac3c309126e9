"""Boards in pictures through the command line: read, solved, named; nothing right by luck."""

import io
import json
import zlib

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.errors import BadQuery
from examples.boards import NINE, SMALL, pictures, png, sudoku_picture
from modules.catalogue import Catalogue
from modules.image._boards.reading import WEIGHTS
from modules.image.classifier.reader import FOLDER
from services.cli import app
from services.formats.pictured import cells_in
from services.formats.visual_sudoku import GIVEN, SIZES, WIDTH, SudokuRead, sudoku_of_pictures
from services.reasoner.reason import Reasoner

SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
pytestmark = pytest.mark.skipif(
    not (FOLDER / WEIGHTS).exists(), reason="the weights of handwritten characters are not there"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boards")
    for name, raw in pictures().items():
        (folder / name).write_bytes(raw)
    return folder


def asked(path, *more):
    done = CliRunner().invoke(app, ["ask", str(path), "--json", *more])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("sudoku_4.png", "1234341241232341"),
        ("sudoku_4_dark.png", "1234341241232341"),
        ("sudoku_9.png", SOLVED),
    ],
)
def test_sudoku_is_read_and_solved(folder, name, wanted):
    told = asked(folder / name)
    assert told["status"] == "OPTIMAL" and told["solution"] == wanted
    puzzle = "".join(str(v) if v else "." for row in (SMALL if "4" in name else NINE) for v in row)
    assert told["reading"] == puzzle
    for one in told["misread"]:
        assert set(one) == {"variable", "site", "plain", "read", "price"} and one["price"] > 0


@pytest.mark.parametrize("name", ["kenken_4.png", "kenken_6.png"])
def test_kenken_is_read_and_solved(folder, name):
    told = asked(folder / name)
    grid, n = np.array(told["solution"]), int(name[7])
    assert told["status"] == "OPTIMAL"
    assert all(sorted(line) == list(range(1, n + 1)) for line in [*grid.tolist(), *grid.T.tolist()])
    for cage in told["reading"]:
        own = [grid[tuple(c)] for c in cage["cells"]]
        sign, text = cage["target"][-1], cage["target"].rstrip("+-x/")
        results = {
            "+": sum(own),
            "x": int(np.prod(own)),
            "-": abs(own[0] - own[-1]),
            "/": max(own) // min(own),
        }
        assert results.get(sign, own[0]) == int(text)


def test_the_runner_up_is_another_reading(folder):
    told = asked(folder / "sudoku_9.png", "--explain")
    for other in told["alternatives"]:
        assert other["reading"] != told["reading"] and other["energy"] >= told["energy"]


def test_a_contradiction_is_read_otherwise():
    """Two clues alike in a row: one of them is not what it looks like."""
    puzzle = [list(row) for row in NINE]
    puzzle[0][1] = 5
    cells = cells_in(png(sudoku_picture(puzzle, np.random.default_rng(1))), SIZES, WIDTH)
    query = sudoku_of_pictures([cells], WEIGHTS, "decimal", proper=False)
    (answer,) = Reasoner(Catalogue(entry_points=False)).reason(query)
    told = SudokuRead(query, (cells,), {**GIVEN, "notation": "decimal"})
    assert answer.status == "OPTIMAL" and told.misread(0, answer.values)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_board_is_not_stood_by(tmp_path, turns):
    raw = png(np.rot90(sudoku_picture(NINE, np.random.default_rng(1)), turns))
    (tmp_path / "turned.png").write_bytes(raw)
    done = CliRunner().invoke(app, ["ask", str(tmp_path / "turned.png"), "--json"])
    told = json.loads(done.stdout)
    assert told["solution"] is None or "ABSTAIN" in told["flags"]


@pytest.mark.parametrize("format", [None, "visual-sudoku", "kenken"])
@pytest.mark.parametrize("what", ["noise", "cut", "paper", "text"])
def test_what_is_no_board_is_a_mistake(tmp_path, what, format):
    raw = png(sudoku_picture(NINE, np.random.default_rng(1)))
    held = {
        "noise": png(np.random.default_rng(0).random((300, 300))),
        "cut": raw[: len(raw) // 2],
        "paper": png(np.zeros((300, 300))),
        "text": b"no picture",
    }[what]
    (tmp_path / "it.png").write_bytes(held)
    more = [] if format is None else ["--format", format]
    done = CliRunner().invoke(app, ["ask", str(tmp_path / "it.png"), *more])
    assert done.exit_code == 2 and "Traceback" not in done.output


def test_given_is_checked(folder):
    kinds = ('{"weights": 3}', '{"notation": "roman"}', '{"sort": 1}', '{"sizes": 1}')
    for given in (*kinds, '{"margin": -1}', '{"dear": -0.5}'):
        done = CliRunner().invoke(app, ["ask", str(folder / "sudoku_4.png"), "--given", given])
        assert done.exit_code == 2 and "--given" in done.output
    for number in ("NaN", "Infinity", "1e400", "-1", "true"):
        for name in ("margin", "dear"):
            more = ["--given", f'{{"{name}": {number}}}']
            done = CliRunner().invoke(app, ["ask", str(folder / "sudoku_4.png"), *more])
            assert done.exit_code == 2 and f"--given.{name}" in done.output and not done.stdout
            assert "0 or more" in done.output


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_pictures_of_too_many_pixels_are_told_so(tmp_path, side, recwarn):
    (tmp_path / "it.png").write_bytes(png(np.zeros((20, 20), np.uint8)))
    raw = bytearray((tmp_path / "it.png").read_bytes())
    raw[16:24] = side.to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    with pytest.raises(BadQuery, match="pixels; give at most 64000000"):
        cells_in(bytes(raw), SIZES, WIDTH)
    assert not list(recwarn)


def test_sizes_of_ink_are_told_in_sides_of_a_cell_and_may_be_left_out(folder):
    for cell in (30, 60):
        raw = png(sudoku_picture(NINE, np.random.default_rng(1), cell=cell))
        cells = cells_in(raw, SIZES, WIDTH)
        assert (cells.sizes[cells.inked] > 0.4).all() and (cells.sizes < 0.7).all()
        assert not cells.sizes[~cells.inked].any()
    query = sudoku_of_pictures([cells], WEIGHTS, sizes=False)
    assert list(query.inputs) == ["pictures"] and query.terms[2].scope == ("pictures", "clues")
    told = asked(folder / "sudoku_4.png", "--given", '{"sizes": false}')
    assert told["solution"] == asked(folder / "sudoku_4.png")["solution"]


def test_boards_of_one_size_are_rows_of_one_query():
    every = [
        cells_in(png(sudoku_picture(p, np.random.default_rng(k))), SIZES, WIDTH)
        for k, p in enumerate([SMALL, SMALL, SMALL])
    ]
    reasoner = Reasoner(Catalogue(entry_points=False))
    together = reasoner.reason(sudoku_of_pictures(every, WEIGHTS, "decimal"))
    alone = [reasoner.reason(sudoku_of_pictures([one], WEIGHTS, "decimal"))[0] for one in every]
    assert [a.energy for a in together] == [a.energy for a in alone]
    assert [a.values for a in together] == [a.values for a in alone]


def test_sixteen_bits_and_alpha_are_read_alike(tmp_path):
    image = pytest.importorskip("PIL.Image")
    raw = png(sudoku_picture(SMALL, np.random.default_rng(2)))
    plain = image.open(io.BytesIO(raw))
    deep = image.fromarray(np.asarray(plain).astype(np.uint16) * 257)
    told = []
    for k, other in enumerate((plain, plain.convert("RGBA"), plain.convert("P"), deep)):
        other.save(tmp_path / f"{k}.png")
        told.append(asked(tmp_path / f"{k}.png")["solution"])
    assert told == ["1234341241232341"] * 4


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_in_any_order_is_read_alike(tmp_path, transparent):
    """Ink at place 0 and paper at the last; paper may be transparent."""
    image = pytest.importorskip("PIL.Image")
    raw = png(sudoku_picture(SMALL, np.random.default_rng(2)))
    grey = np.asarray(image.open(io.BytesIO(raw)))
    other = image.fromarray(grey // 16, "P")
    shades = [17 * k for k in range(16)]
    other.putpalette([v for shade in shades for v in (shade, shade, shade)])
    order = [7, 3, 15, 0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]
    mixed = other.remap_palette(order)
    more = {"transparency": order.index(15)} if transparent else {}
    mixed.save(tmp_path / "mixed.png", **more)
    assert asked(tmp_path / "mixed.png")["solution"] == "1234341241232341"


def test_the_runner_up_says_in_what_it_differs(folder):
    """In what was read, always; the solution may be the same."""
    for name in ("kenken_4.png", "kenken_6.png", "sudoku_9.png"):
        told = asked(folder / name, "--explain")
        assert told["alternatives"]
        for other in told["alternatives"]:
            assert other["reading"] != told["reading"] and other["otherwise"]
            more = sum(one["price"] for one in other["otherwise"])
            assert more == pytest.approx(other["energy"] - told["energy"])
            for one in other["otherwise"]:
                assert one["read"] != one["other"]
        done = CliRunner().invoke(app, ["ask", str(folder / name), "--explain"])
        assert "the runner-up costs" in done.stdout
