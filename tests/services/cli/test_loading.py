"""Code is loaded while no garbage is looked for, and a process that ends takes nothing apart."""

import gc
import subprocess
import sys

import pytest

from services.cli.loading import loading


def test_garbage_is_looked_for_again_after_loading():
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count()
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()


def test_a_process_ends_without_taking_apart_what_it_holds():
    """A cycle that tells of its end is silent; files are flushed and what was registered runs."""
    code = (
        "import atexit, sys, services.cli.commands as commands\n"
        "class Held:\n"
        "    def __del__(self): print('taken apart')\n"
        "held = Held(); held.itself = held\n"
        "atexit.register(print, 'ended')\n"
        "sys.argv = ['basin', '--version']\n"
        "commands.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "ended" and "taken apart" not in done.stdout
