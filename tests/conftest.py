"""What all tests share: one torch thread, Hypothesis without a deadline, and the shared data."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support.paths import ROOT

pytest_plugins = ["tests.support.fixtures", "tests.support.hosting", "tests.support.command"]

torch.set_num_threads(1)
settings.register_profile("basin", deadline=None)  # torch's first call takes a second
settings.register_profile("ci", parent=settings.get_profile("basin"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "basin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `gpu` on a machine without one."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public instances: $BASIN_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("BASIN_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set BASIN_DATA")
    return folder
