"""A run is known by the fields of its settings, in every process alike, and none is left out."""

import dataclasses
import enum
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import BadQuery
from engine.learning.naming import Named, told
from engine.learning.objective import Objective
from engine.learning.recipe import Recipe
from tests.engine.learning.test_device import CASES


class Colour(enum.Enum):
    RED = 1


def twice(x: int) -> int:
    return 2 * x


@dataclass(frozen=True)
class Held:
    value: Any
    cache: dict = field(default_factory=dict, compare=False)

    def asked(self) -> Any:
        return self.value


VALUES = [
    1, 2, 1.0, True, "1", None, (1, 2), [1, 3], {"a": 1}, {"a": 2}, {1, 2}, Colour.RED, Held, twice,
    partial(twice, 3), partial(twice, 4), Held(1), Held(2), Held(1).asked, Held(2).asked,
    Named("one", lambda: 1), Named("two", lambda: 1), torch.ones(2), torch.ones(2).double(),
    torch.zeros(2), np.ones((2, 1)), np.float64(3.5), torch.float32, torch.device("cpu"),
    Path("a"), Recipe(5), Recipe(6), torch.relu,
]  # fmt: skip


def test_different_values_are_told_differently():
    texts = [str(told("x", value)) for value in VALUES]
    assert len(set(texts)) == len(texts)
    assert not any(" at 0x" in text for text in texts)
    assert told("x", Held(1, {"a": 1})) == told("x", Held(1))  # not compared, not told
    assert told("x", Named("one", twice)) == told("x", Named("one", print))


@pytest.mark.parametrize("value", [lambda: 1, Held(lambda: 1), partial(lambda: 1), object()])
def test_what_has_no_name_is_told(value):
    with pytest.raises(BadQuery, match=r"^x.*(no name of its own; give Named|cannot be told)"):
        told("x", value)


def test_networks_are_told_by_their_numbers():
    torch.manual_seed(0)
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert told("x", one) != told("x", other) and told("x", one) == told("x", one)


def named(case: str) -> Objective:
    objective = CASES[case][0]
    if case == "over all states":
        return replace(objective, states=Named("all of 4 bits", objective.states))
    return objective


OTHERS = {int: 7, float: 0.123, bool: None, type(None): 3, str: "another"}


def changed(value: Any) -> list[Any]:
    """The same with one plain field changed, one after another, at any depth."""
    out = []
    for f in (f for f in dataclasses.fields(value) if f.compare):
        was = getattr(value, f.name)
        if dataclasses.is_dataclass(was):
            new = changed(was)
        elif isinstance(was, tuple) and was and dataclasses.is_dataclass(was[0]):
            new = [(one, *was[1:]) for one in changed(was[0])]
        elif isinstance(was, tuple):
            new = [(*was, "other")]
        else:
            new = [not was if isinstance(was, bool) else OTHERS.get(type(was), 5)]
        for one in new:
            other = object.__new__(type(value))  # past the checks: what is told is asked here
            for g in dataclasses.fields(value):
                object.__setattr__(other, g.name, getattr(value, g.name))
            object.__setattr__(other, f.name, one)
            out.append(other)
    return out


@pytest.mark.parametrize("case", CASES)
def test_every_hyper_parameter_of_every_objective_counts(case):
    objective = named(case)
    if case == "over all states":
        objective = replace(objective, states=Named("all", dict))
    texts = [told("objective", one) for one in changed(objective)]
    assert texts and all(text != told("objective", objective) for text in texts)


SCRIPT = """
import json
from engine.learning.naming import told
from tests.engine.learning.test_naming import CASES, named
print(json.dumps({case: told("objective", named(case)) for case in CASES}))
"""


def test_every_objective_is_told_alike_in_another_process():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=110, check=True
    )
    assert json.loads(done.stdout) == {case: told("objective", named(case)) for case in CASES}
