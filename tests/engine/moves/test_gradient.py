"""What steps along slopes are made of."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.moves.gradient import power


@given(st.integers(1, 40), st.floats(0.5, 0.999))
def test_powers_have_the_same_bits_in_any_batch(size: int, base: float) -> None:
    exponents = torch.arange(1, size + 1, dtype=torch.float64)
    together = power(base, exponents)
    assert torch.equal(together, torch.cat([power(base, one[None]) for one in exponents]))
    assert together.tolist() == pytest.approx([base**k for k in range(1, size + 1)], rel=1e-12)


def test_no_step_takes_what_differs_by_the_batch() -> None:
    """torch's own pow and sigmoid have other last bits where a loop over many numbers ends."""
    root = Path(engine.__file__).parent
    for path in (*root.glob("minimizers/*.py"), *root.glob("moves/*.py")):
        assert not re.search(r"sigmoid|\.pow\(|torch\.pow", path.read_text()), path
