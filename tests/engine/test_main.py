"""Kernels are compiled ahead: `make install` goes on without them, here that is a fault."""

from engine.__main__ import main


def test_kernels_are_compiled_ahead(capsys) -> None:
    main()
    assert "kernels compiled" in capsys.readouterr().out
