"""How many queries the tests send through each door, and the check of some of them."""

import pytest

from tests.support.fuzz.run import fuzz, reported
from tests.support.fuzz.worker import Worker

DOORS = {
    "engine": 700,
    "weighted": 300,
    "reasoner": 450,
    "session": 250,
    "score": 150,
    "oracle": 150,
    "grpc": 100,
    "grpc session": 60,
    "crowd": 30,
    "hosted": 40,
    "hosted session": 20,
    "command": 30,
    "minimizers": 20,
}


def check(door: str, seeds: range, worker: Worker) -> None:
    """Fails with the first complaint about the queries of these seeds, made small."""
    tally = fuzz(door, seeds, worker.complaints, enough=1)
    for case, complaint in tally.wrong:
        pytest.fail(reported(case, door, complaint, worker.complaints, 10.0))
    assert tally.queries == len(seeds)
