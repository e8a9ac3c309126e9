"""Compile every kernel once, so that the first answer need not wait: python -m engine.kernels"""

import time

from engine import Finite, Problem, Variable, answers
from engine.energy import Term


class _Unequal(Term):
    """E = <x_0, x_1>: two sites of two values that should differ."""

    def energy(self, x):  # (B, 2, 2) -> (B,)
        return (x[:, 0] * x[:, 1]).sum(-1)


def main() -> None:
    """Answer one soft and one hard toy query: that touches every kernel."""
    began = time.perf_counter()
    x = Variable("x", Finite((0, 1), (2,)))
    answers(Problem(1.0 * _Unequal(x)))
    print(f"kernels compiled in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
