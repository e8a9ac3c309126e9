"""Work of calls in threads: what it raises reaches its caller, and never the process."""

import asyncio
import sys

import pytest

from engine.errors import BasinError
from services.reasoner.deadline import Deadline
from services.reasoner.workers import Workers
from services.settings import POLICY


def leaves() -> None:
    sys.exit(5)


def test_somebodys_exit_is_an_error_of_the_call() -> None:
    async def call() -> None:
        workers = Workers(POLICY)
        with pytest.raises(BasinError, match="SystemExit: 5"):
            await workers.run(leaves, Deadline(5.0))
        assert await workers.run(lambda: 3, Deadline(5.0)) == 3

    asyncio.run(call())
