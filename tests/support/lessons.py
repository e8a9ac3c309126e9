"""Lessons whose examples are a text."""

from pathlib import Path
from typing import Any

from engine.energy.lesson import Lesson


def lesson_of(text: str, out: Path, **more: Any) -> Lesson:
    """The text lies beside the weights."""
    data = out.with_suffix(".txt")
    data.write_text(text)
    return Lesson(data, out, **more)
