"""Kernels are compiled ahead: `make install` goes on without them, here that is a fault, as a
question with a limit of time would spend it on compiling."""

import subprocess
import sys

ASKED = """
import importlib, pkgutil
import engine.kernels as every
from engine.kernels.fused import Fused
from engine.__main__ import main

main()
loops = {}
for found in pkgutil.iter_modules(every.__path__):
    module = importlib.import_module(f"{every.__name__}.{found.name}")
    loops |= {(found.name, n): x for n, x in vars(module).items() if isinstance(x, Fused)}
own = [loop.py_func for loop in loops.values()]
inner = {id(f.__globals__.get(name)) for f in own for name in f.__code__.co_names}
for (module, name), loop in loops.items():
    if id(loop) not in inner:  # those that loops call are compiled with these
        print("compiled" in vars(loop) and bool(loop.compiled.signatures), module, name)
"""


def test_kernels_are_compiled_ahead() -> None:
    """In a process of its own: no other test has compiled any."""
    told = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    first, *lines = told.stdout.splitlines()
    assert "kernels compiled" in first
    assert {"True clauses _search", "True odd_cycles _search", "True tours tour"} <= set(lines)
    assert [line for line in lines if line.startswith("False")] == []
