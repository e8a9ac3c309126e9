"""Boards in pictures: the grid is found or refused, ink is parted, characters stand in order."""

import io

import numpy as np
import pytest

from engine.errors import BadQuery
from examples.boards import (
    NINE,
    SMALL,
    kenken_picture,
    latin_square,
    png,
    random_cages,
    sudoku_picture,
    text_picture,
)
from modules.image._boards.grid import cages_of, cells_of, found_grid
from modules.image._boards.ink import framed, inked, pieces_of
from modules.image._boards.pictures import grey_picture
from modules.image._boards.reading import Read, Signs, text_prices
from modules.image._boards.strips import HIGH, Segmentation, strip_of, strip_read

RNG = np.random.default_rng(0)


def grid_of(raw: bytes, sizes=(4, 9, 16)):
    return found_grid(inked(grey_picture(raw)), sizes)


def blanks(grid) -> np.ndarray:
    return np.array([[strip_of(c, 64) is None for c in row] for row in cells_of(grid)])


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize(("puzzle", "cell"), [(SMALL, 60), (NINE, 60), (NINE, 37)])
def test_a_grid_is_found_by_its_lines(puzzle, cell, dark):
    picture = sudoku_picture(puzzle, RNG, cell=cell)
    grid = grid_of(png(picture, dark))
    assert grid.n == len(puzzle) and grid.lines
    assert (blanks(grid) == (np.array(puzzle) == 0)).all()


@pytest.mark.parametrize("dark", [True, False])
def test_cells_of_28_pixels_need_no_lines(dark):
    grid = grid_of(png(sudoku_picture(NINE, RNG, cell=28, lines=False), dark))
    assert grid.n == 9 and not grid.lines
    assert (blanks(grid) == (np.array(NINE) == 0)).all()


def test_a_board_may_have_a_margin():
    picture = np.pad(sudoku_picture(NINE, RNG), ((17, 40), (25, 8)))
    assert (blanks(grid_of(png(picture))) == (np.array(NINE) == 0)).all()


@pytest.mark.parametrize("n", [3, 4, 6, 9])
def test_cages_are_what_thick_borders_enclose(n):
    cages = random_cages(latin_square(n, RNG), RNG)
    grid = grid_of(png(kenken_picture(n, cages, RNG)), tuple(range(3, 10)))
    wanted = sorted(sorted(i * n + j for i, j in cells) for cells, _ in cages)
    assert sorted(cages_of(grid)) == wanted
    firsts = {min(c) for c in wanted}
    assert {k for k, blank in enumerate(blanks(grid).reshape(-1)) if not blank} == firsts


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((200, 200)),
        np.ones((300, 300)),
        RNG.random((250, 250)),
        np.tile(np.linspace(0, 1, 256), (256, 1)),
        np.pad(np.ones((40, 40)), 80),
        sudoku_picture(NINE, RNG)[:, :333],
    ],
    ids=["paper", "ink", "noise", "gradient", "square", "cut"],
)
def test_no_grid_is_a_mistake(picture):
    with pytest.raises(BadQuery):
        grid_of(png(picture))


def test_other_sizes_are_told():
    seven = [[1, 0, 0, 0, 0, 0, 0]] * 7
    with pytest.raises(BadQuery, match="7 x 7"):
        grid_of(png(sudoku_picture(seven, RNG)))


def test_broken_files_are_told():
    whole = png(sudoku_picture(NINE, RNG))
    for raw in (whole[:200], whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n", b"GIF no", b""):
        with pytest.raises(BadQuery):
            grey_picture(raw)
    with pytest.raises(BadQuery, match="pixels"):
        grey_picture(png(np.zeros((3, 3))))


def test_every_depth_shows_the_same():
    image = pytest.importorskip("PIL.Image")
    ink = sudoku_picture(SMALL, RNG)
    plain = image.open(io.BytesIO(png(ink)))
    grey = grey_picture(png(ink))
    deep = image.fromarray(np.asarray(plain).astype(np.uint16) * 257)
    clear = image.new("RGBA", plain.size, (0, 0, 0, 0))
    clear.putalpha(image.fromarray(np.round(255 * ink).astype(np.uint8)))
    for other in (plain.convert("P"), plain.convert("RGB"), deep, clear):
        held = io.BytesIO()
        other.save(held, "PNG")
        assert np.abs(grey_picture(held.getvalue()) - grey).max() < 0.03, other.mode


def test_pieces_are_what_is_connected():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1]], bool)
    found = pieces_of(mask)
    assert [p.area for p in found] == [2, 2, 2, 1]
    assert pieces_of(np.zeros((5, 5), bool)) == []
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = rng.random((12, 9)) < 0.4
        total = np.zeros(mask.shape, int)
        for p in pieces_of(mask):
            total[p.top : p.bottom, p.left : p.right] += p.mask
        assert (total == mask).all()


@pytest.mark.parametrize("text", ["7", "12", "16", "420x", "13+", "8/"])
def test_the_right_way_to_part_a_text_is_among_those_that_cost_little(text):
    strip = strip_of(np.pad(text_picture(text, 40, np.random.default_rng(1)), 5), 128)
    assert strip is not None and strip.shape == (HIGH, 128)
    read = strip_read(strip)
    best = min(s.price for s in read.segmentations)
    fitting = [s.price for s in read.segmentations if len(s.characters) == len(text)]
    assert fitting and min(fitting) <= best + 1e-9
    assert read.pictures.shape[1:] == (28, 28) and read.pictures.max() <= 1


def test_touching_digits_may_be_cut():
    one = text_picture("3", 40, np.random.default_rng(1))
    ink = np.pad(np.hstack([one[:, :27], one[:, 3:]]), 4)
    read = strip_read(strip_of(ink, 64))
    assert {1, 2} <= {len(s.characters) for s in read.segmentations}


def test_frames_hold_the_ink():
    for text in ("1", "8", "-"):
        picture = text_picture(text, 30, RNG)
        rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
        cut = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        out = framed(cut)
        assert out.shape == (28, 28) and out.min() >= 0 and out.max() == 1
        mass = out.sum()
        assert abs((out.sum(0) * (np.arange(28) + 0.5)).sum() / mass - 14) < 1.5


def test_prices_are_the_least_over_segmentations():
    chances = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]))
    read = Read(chances, (Segmentation((0,), 1.0), Segmentation((1, 2), 0.25)))
    signs = Signs(("1", "2", "3"), "123")
    texts = ["1", "23", "3", "333", "12"]
    told = text_prices(read, signs, signs.spelled(texts), len(texts))
    wanted = [1 - np.log(0.7), 0.25 - np.log(0.6 * 0.6), 1 - np.log(0.1), 64, 0.25 - np.log(0.02)]
    assert told == pytest.approx(wanted, abs=0.01)
    assert (told * 1024 == np.round(told * 1024)).all()
