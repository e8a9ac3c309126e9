"""What a kind is asked when it is to learn: `basin train KIND` in terms of the engine.

A kind that learns writes the classmethod `Term.learn(lesson)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Lesson:
    """data: the file or folder of examples, which the kind reads. out: where the weights go.
    seconds, steps: limits; None: what the kind thinks right. work: a folder to take up again; None:
    none is kept. params: what the kind asks beside. command: what was typed, to be stored with the
    weights."""

    data: Path
    out: Path
    seconds: float | None = None
    steps: int | None = None
    seed: int = 0
    work: Path | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
