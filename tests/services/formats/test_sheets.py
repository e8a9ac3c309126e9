"""Sheets of boards: what was corrected is red, what was found is blue, and every board has one."""

import io

import numpy as np
import pytest
from PIL import Image, ImageColor
from typer.testing import CliRunner

from examples.boards import SMALL, kenken_picture, latin_square, png, random_cages, sudoku_picture
from modules.image._boards.grid import found_grid
from modules.image._boards.ink import inked
from modules.image._boards.pictures import grey_picture
from services.cli import app
from services.formats.sheets import CORRECTED, FOUND, ROOM, SIDE, Mark, sheet_of

SOLVED = "1234341241232341"


def grid_of(raw):
    return found_grid(inked(grey_picture(raw)), (4,))


def count(pixels, colour):
    return int((pixels == ImageColor.getrgb(colour)).all(-1).sum())


def panel(sheet, k):
    left = ROOM + k * (SIDE + ROOM)
    return sheet[ROOM : ROOM + SIDE, left : left + SIDE]


@pytest.mark.parametrize("plain", [None, "7"])
def test_what_was_corrected_is_red_and_what_was_found_is_blue(plain):
    grid = grid_of(png(sudoku_picture(SMALL, np.random.default_rng(0))))
    sheet = sheet_of(grid, {0: Mark("1", plain), 5: Mark("4")}, SOLVED, title="OPTIMAL")
    assert sheet.shape == (SIDE + 2 * ROOM, 3 * SIDE + 4 * ROOM, 3) and sheet.dtype == np.uint8
    picture, reading, solution = (panel(sheet, k) for k in range(3))
    for own in (reading, solution):
        assert (count(own, CORRECTED) > 0) == (plain is not None)
    assert count(solution, FOUND) > 100 and count(reading, FOUND) == 0
    corner = np.s_[: SIDE // 4, : SIDE // 4]
    assert (count(reading, CORRECTED) == count(reading[corner], CORRECTED)) and (
        picture.min() < 50 < 200 < picture.max()
    )


def test_cages_have_thick_borders_and_targets_in_corners():
    rng = np.random.default_rng(3)
    cages = random_cages(latin_square(4, rng), rng)
    grid = grid_of(png(kenken_picture(4, cages, rng)))
    rows = [list(range(k, k + 4)) for k in range(0, 16, 4)]
    sheet = sheet_of(grid, {0: Mark("10+", "70+")}, SOLVED, rows)
    reading = panel(sheet, 1)
    dark = (reading.max(-1) < 60).mean(1)
    assert (dark[SIDE // 4 - 1 : SIDE // 4 + 2] > 0.9).any()  # between cages
    assert count(reading[: SIDE // 8, : SIDE // 4], CORRECTED) > 0
    assert count(reading[SIDE // 4 :], CORRECTED) == 0


def test_every_pictured_board_has_a_sheet(tmp_path):
    (tmp_path / "b.png").write_bytes(png(sudoku_picture(SMALL, np.random.default_rng(0))))
    arguments = ["ask", str(tmp_path / "b.png"), "--json", "--pictures", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "b_1_sheet.png"
    image = Image.open(io.BytesIO(file.read_bytes()))
    assert image.size == (3 * SIDE + 4 * ROOM, SIDE + 2 * ROOM) and image.mode == "RGB"
    (tmp_path / "no").write_text("a file")
    done = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "no")])
    assert done.exit_code == 2 and "--pictures" in done.output and "Traceback" not in done.output
