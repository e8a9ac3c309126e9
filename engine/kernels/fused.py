"""A loop over arrays that numba compiles when it is first worth it: until then nothing loads numba.

To import numba and to load one compiled loop takes half a second, which a small question answered
once in a process does not need. The same source runs as plain Python too, to the same bits, so
that what a loop returns never depends on which of the two ran.
"""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

PATIENCE = 200_000  # inner steps that plain Python may do in a process, below 1 us each
_done = 0


class Fused:
    """A function of numbers and arrays in the Python that numba compiles; called, it is compiled.

    Loops that are compiled may call it by its name, as if numba had made it.
    """

    def __init__(self, loop: Callable[..., Any], inline: str, error_model: str):
        self.py_func = loop  # this name and the next are those that numba looks for
        self.targetoptions = {"inline": inline}
        self._error_model = error_model

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """The loop as numba makes it for Python, from its cache where it was compiled before."""
        return self._made(cache=True)

    @cached_property
    def _called(self) -> Callable[..., Any]:
        """The loop as other loops call it, which takes no arguments from Python and is cached with
        those that call it."""
        return self._made(no_cpython_wrapper=True, no_cfunc_wrapper=True)

    def _made(self, **options: bool) -> Callable[..., Any]:
        from numba import njit

        import engine.kernels.instructions  # noqa: F401, registers what loops call

        options = {"error_model": self._error_model, **self.targetoptions, **options}
        return njit(nogil=True, **options)(self.py_func)

    @property
    def _numba_type_(self) -> Any:
        return self._called._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)

    def plain(self, *arguments: Any) -> Any:
        """The same as plain Python, some hundred times slower; for loops that call no other one."""
        with np.errstate(over="ignore"):
            return self.py_func(*arguments)


def fused(*, inline: str = "never", error_model: str = "python") -> Callable[..., Fused]:
    """Decorates a loop; the options are those of `numba.njit`."""
    return lambda loop: Fused(loop, inline, error_model)


def load() -> None:
    """Load numba now, for a process that will answer many questions; the first compiled loop loads
    most of it."""
    from engine.kernels.philox import fill

    none = np.zeros((0, 2), dtype=np.uint64)
    fill(np.zeros((0, 4), dtype=np.int64), none, 1, none[:, 0], 0, 0)


def worth(steps: int) -> bool:
    """Whether to run a loop of about so many inner steps compiled: always once numba is loaded, or
    when what this process did without it would come to a good part of loading it."""
    global _done
    if "numba" in sys.modules or _done + steps > PATIENCE:
        return True
    _done += steps
    return False


def trailing_zeros(bits: int) -> int:
    """How many zeros end a 64-bit word that is not 0."""
    return (int(bits) & -int(bits)).bit_length() - 1


def put(to: np.ndarray, values: np.ndarray) -> None:
    """`to[...] = values`, of one shape, that share no memory: in a compiled loop without what would
    tell of shapes that differ, which takes longer to compile than most loops."""
    to[...] = values


def prefetch(array: np.ndarray, index: int) -> None:
    """Start to load the cache line of `array[index]`, contiguous, in range; computes nothing."""
