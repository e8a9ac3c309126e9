"""Formats of texts: ciphers, crosswords, texts with blanks; and files that are none."""

import string

import pytest

from modules.language._dictionary import read_words
from services.formats.crossword import lines_of_grid
from tests.support.command import basin as basin
from tests.support.command import write

PLAIN = (
    "The old man said that he had never seen such a thing in all his life, and that the people of "
    "the village would not believe him when he told them what had happened there on that morning; "
    "but they came to his house in the evening and asked him to tell the story again."
)
KEY = dict(zip(string.ascii_lowercase, "qwertyuiopasdfghjklzxcvbnm", strict=True))


def enciphered(text):
    return "".join(KEY.get(c, KEY.get(c.lower(), c).upper() if c.isalpha() else c) for c in text)


def test_texts_are_deciphered(basin):
    joined = "".join(c for c in PLAIN.lower() if c.isalpha())[:180]
    text = f"# two texts\n{enciphered(PLAIN)}\n\n{enciphered(joined)}\n"
    done = basin("ask", write("a.cipher", text), "--json")
    first, second = done.answers
    assert first["instance"] == "a.cipher#1" and first["status"] == "SATISFIED"
    for answer, plain in ((first, PLAIN), (second, joined)):
        right = sum(a == b for a, b in zip(answer["solution"], plain, strict=True))
        assert right >= 0.98 * len(plain), answer["solution"]


def test_crosswords_are_filled_or_refuted(basin):
    grids = "t..\n...\n..e\n\n....#\n.#.#.\n.....\n.#.#.\n#....\n\ntq.\n...\n...\n"
    done = basin("ask", write("a.crossword", grids), "--json")
    every = {answer["instance"]: answer for answer in done.answers}
    words = read_words(None, None)
    for k, grid in ((1, ["t..", "...", "..e"]), (2, ["....#", ".#.#.", ".....", ".#.#.", "#...."])):
        answer = every[f"a.crossword#{k}"]
        assert answer["status"] == "OPTIMAL"
        cells = "".join(answer["solution"])
        for line in lines_of_grid(grid):
            assert "".join(cells[c] for c in line) in words
        assert all(a in (b, ".") or b == "." for a, b in zip(cells, "".join(grid), strict=True))
    assert every["a.crossword#3"]["status"] == "INFEASIBLE"


def test_the_crossing_that_cannot_be_is_named(basin):
    given = '{"words": ["cat", "cow", "tin", "won", "tan"]}'
    write("a.crossword", "cat\no##\nd##\n")
    done = basin("ask", "a.crossword", "--given", given, "--explain", "--json")
    (answer,) = done.answers
    assert answer["status"] == "INFEASIBLE"
    assert answer["rule_conflict"] == [{"term": "language.in_dictionary", "part": 1}]
    said = basin("ask", "a.crossword", "--given", given, "--explain")
    assert "line 1: [0, 0], [1, 0] and [2, 0] spell a word" in said.out + said.err


def test_blanks_of_a_text_are_filled_and_others_scored(basin):
    write("a.text", "The q_iet Morning, of 1999.\n")
    write("b.txt", "the quiet morning of\n")
    done = basin("ask", "a.text", "--json")
    (answer,) = done.answers
    assert answer["solution"] == "The quiet Morning, of 1999."
    done = basin("ask", "b.txt", "--format", "text", "--score", "--json")
    (scored,) = done.answers
    assert scored["status"] == "SCORED" and 20 < scored["energy"] < answer["energy"]


WRONG = [
    ("a.cipher", "123\n456\n", None, "line 1"),
    ("a.cipher", "# nothing\n", None, "there is no text"),
    ("a.cipher", "abc\n", '{"weights": "nowhere.safetensors"}', "nowhere.safetensors"),
    ("a.cipher", "abc\n", '{"order": 99}', "--given.order"),
    ("a.cipher", "abc\n", '{"colour": 3}', "colour"),
    ("a.crossword", "ab.\n.\n", None, "line 2"),
    ("a.crossword", "ab.\n.?c\n", None, "line 2"),
    ("a.crossword", "#.#\n###\n...\n", None, "cell 2 stands in no word"),
    ("a.crossword", "...\n...\n", '{"words": "nowhere.txt"}', "--given.words"),
    ("a.crossword", "...\n...\n", '{"words": []}', "--given.words"),
    ("a.text", "123 456\n", None, "no letter of the alphabet"),
    ("a.text", "abc\n", '{"blank": "??"}', "--given.blank"),
    ("a.text", "abc\n", '{"order": 6}', "runs of 5"),
]


@pytest.mark.parametrize(("name", "text", "given", "told"), WRONG)
def test_what_is_wrong_is_told_in_a_line(basin, name, text, given, told):
    more = () if given is None else ("--given", given)
    done = basin("ask", write(name, text), "--json", *more)
    assert done.code == 2 and told in done.err, done.err
    assert "Traceback" not in done.err and not done.out
