"""Queries as YAML that people can read: short lists on one line, grids as rows."""

from collections.abc import Mapping
from typing import Any

import yaml

WIDTH = 100


def written(query: Mapping[str, Any], comments: list[str]) -> str:
    """A query as a YAML text that begins with comments."""
    dumped = yaml.dump(
        _styled(query), Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True
    )
    return "".join(f"# {line}\n" for line in comments) + dumped


class _Flow(list):
    """A list that is written on one line, or on as many as it needs, between brackets."""


class _Pairs(dict):
    """A mapping that is written between braces."""


class _Dumper(yaml.SafeDumper):
    """Never writes anchors, and indents lists under their name."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        del indentless
        return super().increase_indent(flow, False)


_Dumper.add_representer(
    _Flow, lambda d, x: d.represent_sequence("tag:yaml.org,2002:seq", x, flow_style=True)
)
_Dumper.add_representer(
    _Pairs, lambda d, x: d.represent_mapping("tag:yaml.org,2002:map", x, flow_style=True)
)


def _styled(value: Any) -> Any:
    if isinstance(value, Mapping):
        styled = {name: _styled(part) for name, part in value.items()}
        plain = all(
            not isinstance(p, (dict, list)) or isinstance(p, _Flow) for p in styled.values()
        )
        return _Pairs(styled) if plain and styled and len(str(styled)) < WIDTH - 20 else styled
    if isinstance(value, (list, tuple)):
        if any(isinstance(part, Mapping) for part in value):
            return [_styled(part) for part in value]
        rows = [part for part in value if isinstance(part, (list, tuple))]
        if not rows or min(map(_entries, rows)) < 4:
            return _Flow(value)
        return [_Flow(row) for row in value]
    return value


def _entries(row: Any) -> int:
    return sum(_entries(part) if isinstance(part, (list, tuple)) else 1 for part in row)
