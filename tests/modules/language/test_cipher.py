"""Ciphers judged by runs that are too many to be explicit."""

import string

from engine.domain import Finite, Variable
from engine.energy import required
from engine.problem import Problem
from engine.settle import answers
from modules.discrete.all_different import AllDifferent
from modules.language.cipher import Cipher

PLAIN = (
    "the old house stood at the end of a long street and nobody in the town could say who had "
    "lived there before the war although many people claimed that they had known the family well"
)


def test_long_runs_have_shorter_ones_as_their_stand_in():
    key = Variable("key", Finite(tuple(string.ascii_lowercase), (26,)))
    long = Cipher(key, text=PLAIN, order=5)
    assert long.factors(*(view.variable.domain for view in long.scope)) is None
    short = long.stand_in()
    assert short is not None and short.chain.order == 4 and short.stand_in() is None
    assert (short.cipher == long.cipher).all() and short.scope == long.scope


def test_a_text_is_deciphered_by_runs_of_five():
    turned = string.ascii_lowercase[7:] + string.ascii_lowercase[:7]
    told = PLAIN.translate(str.maketrans(string.ascii_lowercase, turned))
    key = Variable("key", Finite(tuple(string.ascii_lowercase), (26,)))
    energy = required(AllDifferent(key, lines=[[*range(26)]])) + Cipher(key, text=told, order=5)
    (answer,) = answers(Problem(energy), particles=4)
    back = dict(zip(string.ascii_lowercase, answer.values["key"], strict=True))
    found = "".join(back.get(c, c) for c in told)
    assert sum(a == b for a, b in zip(found, PLAIN, strict=True)) >= 0.98 * len(PLAIN)
