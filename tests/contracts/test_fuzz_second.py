"""The second half of the queries of `test_fuzz`: two processes share them."""

from collections.abc import Iterator

import pytest

from tests.support.fuzz.seeds import DOORS, check
from tests.support.fuzz.worker import Worker


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_wrong_at_any_door(door: str, worker: Worker) -> None:
    check(door, range(DOORS[door] // 2, DOORS[door]), worker)
