"""Tables as people save them: separators, quotes, numbers in other writings, words for missing."""

import csv
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadQuery
from modules.discrete.tabular.cells import WORDS, decorated, number, numbers
from modules.discrete.tabular.reading import read_grid
from modules.discrete.tabular.schema import Schema, Type
from modules.discrete.tabular.term import identifiers
from modules.discrete.tabular.types import Wanted, infer

CELLS = st.text(st.sampled_from("ab1 .,;|\t\"\n'-"), max_size=6)


def table_of(cells, rest="ab") -> str:
    """A column `x` of these cells beside two others."""
    rows = (f"{cell},{rest[k % len(rest)]},{k % 2}\n" for k, cell in enumerate(cells))
    return "x,y,z\n" + "".join(rows)


def amounts(rows: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.uniform(1, 2000):.2f}" for _ in range(rows)]


def column(cells, **wanted):
    return infer(read_grid(table_of(cells)), Wanted(**wanted)).columns[0]


# ---------------------------------------------------------------- separators and quotes


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_what_another_program_writes_is_read(rows, separator, quoting, end, told):
    quoting = csv.QUOTE_ALL if end == "\r" else quoting  # that writer leaves \n bare there
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerows([["first", "second", "third"], *rows])
    text = (f"sep={separator}{end}" if told else "") + out.getvalue()
    kept = [tuple(cell.strip() or None for cell in row) for row in rows]
    grid = read_grid(text)
    assert grid.header == ("first", "second", "third") and grid.separator == separator
    assert list(grid.rows) == kept


def test_lines_are_those_of_the_file():
    grid = read_grid('sep=;\na;b\n\n1;"two\nlines"\n3;x\n')
    assert grid.lines == (4, 6)


@pytest.mark.parametrize(
    "text, said",
    [
        ("a b\n1 2\n3 4\n", "separate cells by a comma, semicolon, tab, bar"),
        ("a;b\n1;2;3\n", "the separator is the semicolon"),
        ("a,b\n1,2,5\n", "the separator is the comma"),
        ('a,b\n"1,2\n', "line 2: a quote is opened and never closed"),
        ("a,,b\n1,2,3\n1,2,4\n", "a column has no name"),
    ],
)
def test_a_table_that_does_not_fit_says_how_cells_are_separated(text, said):
    with pytest.raises(BadQuery, match=said) as caught:
        infer(read_grid(text))
    assert all(m.path and m.remedy for m in caught.value.mistakes)


def test_another_separator_may_be_named():
    assert read_grid("sep=:\na:b\n1:2,5\n").rows == (("1", "2,5"),)


def test_a_nameless_column_of_row_numbers_or_nothing_is_left_out_and_told():
    grid = read_grid(",a,b,\n0,x,1,\n1,y,2,\n")
    assert grid.header == ("a", "b") and grid.rows == (("x", "1"), ("y", "2"))
    assert len(grid.notes) == 2 and "numbers the rows" in grid.notes[0]


# ---------------------------------------------------------------- numbers and words


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WORDS)), st.integers(0, 3), st.data())
def test_a_word_that_means_missing_leaves_a_column_numeric_and_is_told(word, case, data):
    said = [word, word.upper(), word.title(), f'"{word}"'][case]
    cells = amounts(60)
    place = data.draw(st.integers(0, 59))
    cells[place] = said
    found = column(cells)
    assert found.type is Type.NUMERIC and found.gaps and "taken as missing" in found.note
    grid = read_grid(table_of(cells))
    schema = infer(grid)
    assert [n for n, code in enumerate(schema.codes(grid)[:, 0]) if code < 0] == [place]
    (told,) = schema.taken(grid)
    assert told.startswith(f"line {place + 2}, column x: ")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["oops", "inf", "-Infinity", "12a", "1_000", "abc def"]),
       st.integers(1, 25), st.booleans())  # fmt: skip
def test_another_word_in_a_column_of_numbers_is_a_mistake(word, times, few):
    cells = [str(k % 5) for k in range(60)] if few else amounts(60)
    cells[10 : 10 + times] = [word] * times
    with pytest.raises(BadQuery) as caught:
        column(cells)
    (mistake,) = caught.value.mistakes
    assert mistake.path == "line 12, column x" and repr(word) in mistake.problem
    assert "types" in mistake.remedy
    assert column(cells, types={"x": "nominal"}).type is Type.NOMINAL or not few
    told = column(cells, missing=(word,))
    assert told.type is (Type.ORDINAL if few else Type.NUMERIC) and told.gaps


WRITINGS = {
    "dollars": lambda x: f"${x:.2f}",
    "euros": lambda x: f"{x:.2f} €",
    "percent": lambda x: f"{x:.1f}%",
    "thousands": lambda x: f'"{x + 1000:,.2f}"',
    "whole thousands": lambda x: f'"{int(x) + 1000:,}"',
    "spaces": lambda x: f"{x + 1000:,.2f}".replace(",", " "),
    "Swiss": lambda x: f"{x + 1000:,.2f}".replace(",", "'"),
    "points for thousands": lambda x: f'"{x + 1000:,.2f}"'.translate({44: 46, 46: 44}),
    "negative in parentheses": lambda x: f"({x:.2f})",
    "currency before": lambda x: f"USD {x:.2f}",
}


@pytest.mark.parametrize("writing", WRITINGS.values(), ids=WRITINGS)
@pytest.mark.parametrize("rows", [60, 400])
def test_numbers_in_a_writing_that_is_not_read_are_a_mistake(writing, rows):
    cells = [writing(float(x)) for x in amounts(rows)]
    with pytest.raises(BadQuery, match="is no number") as caught:
        column(cells)
    (mistake,) = caught.value.mistakes
    assert mistake.path.endswith("column x") and "such as 1234.5" in mistake.remedy
    assert column(cells, types={"x": "ignored"}).type is Type.IGNORED


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals(-10_000, 10_000, places=2), min_size=1, max_size=20))
def test_decimal_commas_mean_what_points_mean(values):
    texts = [f"{value:.2f}".replace(".", ",") for value in values]
    assert numbers(texts) == {text: float(value) for text, value in zip(texts, values, strict=True)}
    with_points = "a;b\n" + "".join(f"{value:.2f};x\n" for value in values)
    with_commas = "a;b\n" + "".join(f"{text};x\n" for text in texts)
    one, other = (infer(read_grid(text)) for text in (with_points, with_commas))
    assert [c.plain for c in one.columns] == [c.plain for c in other.columns]
    assert one.codes(read_grid(with_commas)).tolist() == one.codes(read_grid(with_points)).tolist()


@pytest.mark.parametrize("cells", [["1,234", "5,678"], ["1,5", "2.5"], ["1,234.5", "1,5"]])
def test_commas_of_two_meanings_are_not_read(cells):
    assert not {text for text in numbers(cells) if "," in text}
    assert all(number(text) is not None or decorated(text) for text in cells)


# ---------------------------------------------------------------- names


NAMES = ["NA", "None", "null", "N/A", "nan", "-", "missing"]


@pytest.mark.parametrize("word", NAMES)
def test_in_a_column_of_names_such_a_word_is_a_name(word):
    cells = [("ZA", "BW", word)[k % 3] for k in range(30)]
    found = column(cells)
    assert set(found.values) == {"ZA", "BW", word} and not found.gaps
    assert "a name here" in found.note and repr(word) in found.note
    assert set(column(cells, missing=(word,)).values) == {"ZA", "BW"}
    quoted = [f'"{cell}"' for cell in cells]
    assert set(column(quoted, missing=(word,)).values) == {"ZA", "BW", word}


def test_a_question_mark_asks_unless_it_is_quoted_or_a_name():
    cells = [("x", "y", "?")[k % 3] for k in range(30)]
    assert column(cells).values == ("x", "y") and "taken as missing" in column(cells).note
    assert set(column(cells, missing=("",)).values) == {"x", "y", "?"}
    assert set(column([f'"{cell}"' for cell in cells]).values) == {"x", "y", "?"}


def test_the_words_are_kept_with_the_schema():
    schema = infer(read_grid(table_of(["1", "2", "-9"] * 10)), Wanted(missing=("-9",)))
    assert Schema.of(schema.plain(), ["-9"]) == schema
    assert schema.codes(read_grid("x,y,z\n-9,a,0\n1,a,1\n")).tolist() == [[-1, 0, 0], [0, 0, 1]]
    with pytest.raises(BadQuery, match="if the cell is missing, leave it empty"):
        schema.codes(read_grid("x,y,z\nNA,a,0\n"))


def test_a_column_of_names_with_numbers_or_dates_says_so():
    mixed = column([("red", "blue", "7")[k % 3] for k in range(30)])
    assert mixed.type is Type.NOMINAL and "10 of 30 cells are numbers" in mixed.note
    dates = column([f"2024-01-{k % 28 + 1:02d}" for k in range(60)])
    assert "dates are taken for names" in dates.note
    many = column([f"{2000 + k}-01-02" for k in range(300)])
    assert many.type is Type.IGNORED and "dates" in many.note


# ---------------------------------------------------------------- identifiers


@pytest.mark.parametrize("rows", [20, 300, 1500])
@pytest.mark.parametrize("first", [0, 1, 1001])
def test_row_numbers_are_ignored_and_the_reason_is_told(rows, first):
    order = random.Random(rows).sample(range(first, first + rows), rows)
    for cells in (range(first, first + rows), order):
        found = column([str(cell) for cell in cells])
        assert found.type is Type.IGNORED and "numbers the rows" in found.note
    assert column(map(str, order), types={"x": "numeric"}).type is Type.NUMERIC


@pytest.mark.parametrize("name", ["id", "ID", "customer_id", "CustomerId", "index", "row"])
def test_different_whole_numbers_under_such_a_name_are_identifiers(name):
    cells = random.Random(1).sample(range(10_000), 300)
    text = f"{name},amount,y\n" + "".join(f"{c},{c % 77},{'ab'[c % 2]}\n" for c in cells)
    assert [c.type for c in infer(read_grid(text)).columns][:2] == [Type.IGNORED, Type.NUMERIC]


def test_names_that_never_repeat_are_ignored():
    found = column([f"name{k}" for k in range(50)])
    assert found.type is Type.IGNORED and "every cell is another text" in found.note


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab -_2²é."), min_size=1, max_size=4), unique=True))
def test_every_column_has_a_variable_of_its_own(names):
    made = identifiers(names)
    assert len(set(made)) == len(names) and all(name.isidentifier() for name in made)
    assert all(m == n for m, n in zip(made, names, strict=True) if n.isidentifier())
