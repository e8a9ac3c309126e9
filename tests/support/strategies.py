"""Anything that may be asked or answered, drawn by Hypothesis."""

import math

import numpy as np
import torch
from hypothesis import strategies as st

from engine.answer import (
    Alternative,
    Answer,
    Conflict,
    Ended,
    Finding,
    Flag,
    Margin,
    Part,
    Place,
    Proof,
    RunnerUp,
    Status,
    TermEnergy,
)
from engine.errors import Mistake
from services.query import (
    ArrayFile,
    Budget,
    EvidenceArray,
    FiniteSpec,
    NamedInputSpec,
    NumberInputSpec,
    Query,
    RealSpec,
    TermSpec,
)

# --- what may be said -------------------------------------------------------------------------

reals = st.floats(allow_nan=False, allow_infinity=False)


scalars = st.none() | st.booleans() | st.integers() | reals | st.text()


plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


nested = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)


labels = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=9)


def exact(a, b) -> bool:
    """Equal, types included: 1 is not 1.0 and not True, float32 is not float64."""
    if type(a) is not type(b):
        return False
    if isinstance(a, EvidenceArray):
        same = a == b and a.values.dtype == b.values.dtype
        return same and a.values.tobytes() == b.values.tobytes()
    if isinstance(a, list):
        return len(a) == len(b) and all(exact(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(exact(a[name], b[name]) for name in a)
    return a == b


ARRAYS = ("f2", "f4", "f8", "i1", "u1", "u2", "i4", "i8", "?", ">f4", ">i8")


@st.composite
def arrays(draw, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of any type that evidence may have, some of them masked at times."""
    dtype = np.dtype(draw(st.sampled_from(ARRAYS)))
    numbers = st.integers(0, 1) if dtype.kind == "b" else st.integers(0, 100)
    if dtype.kind == "f":
        numbers = st.floats(-100, 100, width=8 * dtype.itemsize)
    flat = draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)))
    array = np.array(flat).astype(dtype).reshape(shape)
    masks = st.lists(st.booleans(), min_size=array.size, max_size=array.size)
    mask = draw(st.none() | st.just([True] * array.size) | masks)
    return array if mask is None else np.ma.MaskedArray(array, np.reshape(mask, shape))


@st.composite
def inputs(draw) -> NumberInputSpec | NamedInputSpec:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    if draw(st.booleans()):
        values = st.booleans() | st.integers() | reals | st.text()
        once = st.lists(values, min_size=1, max_size=5, unique_by=lambda v: (type(v), v))
        return NamedInputSpec(values=draw(once), shape=shape)
    low, high = sorted(draw(st.tuples(reals, reals)))
    return NumberInputSpec(
        low=draw(st.sampled_from([None, low])),
        high=draw(st.sampled_from([None, high])),
        integer=draw(st.booleans()),
        shape=shape,
    )


files = st.builds(ArrayFile, file=labels, key=st.none() | labels)


@st.composite
def queries(draw) -> Query:
    variables = {}
    every = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    told = {name: draw(inputs()) for name in every[1:] if draw(st.booleans())}
    for name in (name for name in every if name not in told):
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        if draw(st.booleans()):
            values = st.booleans() | st.integers() | reals | st.text()
            once = st.lists(values, min_size=1, max_size=5, unique_by=lambda v: (type(v), v))
            variables[name] = FiniteSpec(values=draw(once), shape=shape)
        else:
            low, high = sorted(draw(st.tuples(reals, reals)))
            variables[name] = RealSpec(
                low=draw(st.sampled_from([None, low, -math.inf])),
                high=draw(st.sampled_from([None, high])),
                shape=shape,
            )
    term = st.builds(
        TermSpec,
        kind=labels,
        scope=st.lists(st.sampled_from(sorted(every)), min_size=1, max_size=3),
        params=st.dictionaries(st.text(), plain, max_size=3),
        required=st.none() | st.booleans(),
        weight=st.floats(min_value=1e-9, max_value=1e9),
    )
    specs = {**variables, **told}
    row = st.fixed_dictionaries(
        {},
        optional={
            name: nested | files | (arrays(spec.shape) if spec.shape else nested)
            for name, spec in specs.items()
        },
    )
    return Query(
        variables=variables,
        inputs=told,
        terms=draw(st.lists(term, max_size=3)),
        evidence=draw(row | st.lists(row, min_size=1, max_size=3)),
        budget=Budget(
            seconds=draw(st.none() | st.floats(min_value=0.001, max_value=1e4)),
            seed=draw(st.integers(0, 2**63 - 1)),
            particles=draw(st.integers(1, 4096)),
            steps=draw(st.none() | st.integers(1, 2**60)),
        ),
    )


assignments = st.dictionaries(names, nested, max_size=3)


energies = st.none() | reals


counts = st.integers(0, 2**63)


places = st.builds(
    Place, variable=names, site=st.lists(st.integers(0, 99), max_size=3).map(tuple), value=scalars
)


parts = st.builds(Part, term=st.text(), part=counts)


term_energies = st.lists(st.builds(TermEnergy, term=st.text(), energy=energies), max_size=3)


answers = st.builds(
    Answer,
    status=st.sampled_from(Status),
    values=st.none() | assignments,
    energy=energies,
    bound=energies,
    terms=term_energies.map(tuple),
    findings=st.lists(
        st.builds(
            Finding,
            term=st.text(),
            holds=st.none() | st.booleans(),
            required=st.booleans(),
            text=st.text(),
        ),
        max_size=3,
    ).map(tuple),
    flags=st.lists(st.sampled_from(Flag), unique=True).map(tuple),
    ended=st.none() | st.sampled_from(Ended),
    proved_by=st.none() | st.sampled_from(Proof),
    unique=st.none() | st.booleans(),
    alternatives=st.lists(st.builds(Alternative, values=assignments, energy=reals), max_size=2).map(
        tuple
    ),
    conflict=st.builds(
        Conflict,
        evidence=st.lists(places, max_size=2).map(tuple),
        rules=st.lists(parts, max_size=2).map(tuple),
        repair=st.lists(places, max_size=2).map(tuple),
        text=st.text(),
    ),
    steps=counts,
    seconds=st.floats(0, 1e6),
    margins=st.lists(
        st.builds(
            Margin,
            variable=names,
            low=st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
            high=st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    runner_up=st.none()
    | st.builds(
        RunnerUp,
        values=assignments,
        energy=reals,
        terms=term_energies.map(tuple),
        text=st.text(),
    ),
)


dtypes = [torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8]


# --- errors -----------------------------------------------------------------------------------

mistakes = st.builds(Mistake, path=st.text(max_size=9), problem=labels, remedy=st.text(max_size=9))
