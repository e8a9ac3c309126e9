"""What the formats of graphs share: what may be asked of a graph, and how answers look."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from engine.errors import BadQuery, Mistake, known, shown
from modules.shared.graphs import Graph
from services.formats.base import Asked, Values, given_values
from services.query import query_of

NODES = {"independent_set": -1, "vertex_cover": 1, "dominating_set": 1}  # by what size counts
EDGES = {"matching": -1, "spanning_tree": 1, "shortest_path": 1}
FINDS = ("cut", *NODES, *EDGES)
REMEDY = """say what to find, such as --given '{"colors": 3}' or --given '{"find": "cut"}'"""


def asked_of(graph: Graph, source: str, given: Any, notices: Sequence[str] = ()) -> list[Asked]:
    """The question that `--given` asks of a graph. Raises BadQuery where it asks none.

    Sites are nodes, or edges, in the order of the file. The energy is the weight of what is to be
    small, and less that of what is to be large.
    """
    told = given_values(given, ("colors", "find", "root", "start", "goal"))
    if "colors" in told and "find" not in told:
        _only(told, "colors")
        return [_colored(graph, source, told["colors"], notices)]
    if "find" not in told or "colors" in told:
        problem = "asks for colours and something else" if told else "is missing"
        raise BadQuery(Mistake("--given", problem, f"{REMEDY}; known: {', '.join(FINDS)}"))
    find = told["find"]
    if find not in FINDS:
        remedy = known(find, FINDS) if isinstance(find, str) else f"known: {', '.join(FINDS)}"
        raise BadQuery(Mistake("--given.find", f"{shown(find)} is unknown", remedy))
    if find == "cut":
        _only(told, "find")
        return [_cut(graph, source, notices)]
    if find in NODES:
        _only(told, "find")
        return [_nodes(graph, source, find, notices)]
    return [_edges(graph, source, find, told, notices)]


def _only(told: Mapping[str, Any], *names: str) -> None:
    for name in told:
        if name not in names:
            raise BadQuery(Mistake(f"--given.{name}", "is not asked for here", "leave it out"))


def _colored(graph: Graph, source: str, colors: Any, notices: Sequence[str]) -> Asked:
    if type(colors) is not int or colors < 1:
        remedy = """say how many, such as --given '{"colors": 3}'"""
        raise BadQuery(
            Mistake("--given.colors", f"{shown(colors)} is no number of colours", remedy)
        )
    loops = sum(a == b for a, b in graph.edges)
    if loops:
        more = f"{loops} edges from a node to itself are left out: no colouring satisfies one"
        notices = (*notices, more)
    edges = [list(edge) for edge in graph.simple().edges]
    terms = [{"kind": "graph.coloring", "scope": ["color"], "params": {"edges": edges}}]
    query = _query("color", list(range(colors)), len(graph.names), terms)
    return Asked(
        query,
        source,
        (1,),
        lambda values: values["color"],
        lambda values: _by_color(graph, values["color"]),
        notices=tuple(notices),
    )


def _by_color(graph: Graph, colors: Sequence[int]) -> str:
    groups: dict[int, list[str]] = {}
    for name, color in zip(graph.names, colors, strict=True):
        groups.setdefault(color, []).append(str(name))
    return "\n".join(f"{color}: {' '.join(groups[color])}" for color in sorted(groups))


def _cut(graph: Graph, source: str, notices: Sequence[str]) -> Asked:
    terms = [
        {"kind": "graph.cut", "scope": ["side"], "params": {"edges": graph.simple().weighted_edges}}
    ]
    query = _query("side", [0, 1], len(graph.names), terms)
    return Asked(
        query,
        source,
        (1,),
        lambda values: "".join(map(str, values["side"])),
        lambda values: _by_color(graph, values["side"]),
        notices=tuple(notices),
    )


def _nodes(graph: Graph, source: str, find: str, notices: Sequence[str]) -> Asked:
    if graph.weights is not None:
        notices = (*notices, f"weights of edges say nothing about {find.replace('_', ' ')}s")
    edges = [list(edge) for edge in dict.fromkeys(map(_sorted, graph.edges))]
    worth = [1] * len(graph.names) if graph.worth is None else graph.worth
    terms = [
        {"kind": f"graph.{find}", "scope": ["chosen"], "params": {"edges": edges}},
        *_priced("chosen", worth, NODES[find]),
    ]
    query = _query("chosen", [0, 1], len(graph.names), terms)
    return Asked(
        query,
        source,
        (1,),
        lambda values: values["chosen"],
        partial(_picked, "chosen", [str(name) for name in graph.names]),
        notices=tuple(notices),
    )


def _edges(
    graph: Graph, source: str, find: str, told: Mapping[str, Any], notices: Sequence[str]
) -> Asked:
    own = {"spanning_tree": ("root",), "shortest_path": ("start", "goal")}.get(find, ())
    _only(told, "find", *own)
    params: dict[str, Any] = {"edges": [list(edge) for edge in graph.edges]}
    for name in own:
        if name in told:
            params[name] = _node(graph, told[name], f"--given.{name}")
        elif name != "root":
            remedy = f"name a node, such as {graph.names[0]!s}"
            raise BadQuery(Mistake(f"--given.{name}", "is missing", remedy))
    if not graph.edges:
        raise BadQuery(Mistake("", "no edge in the whole graph", "write at least one"))
    terms = [
        {"kind": f"graph.{find}", "scope": ["chosen"], "params": params},
        *_priced("chosen", graph.weight, EDGES[find]),
    ]
    if find == "spanning_tree":
        _with_lone_nodes(graph, terms[0])
    query = _query("chosen", [0, 1], len(graph.edges), terms)
    names = [f"{graph.names[a]}-{graph.names[b]}" for a, b in graph.edges]
    return Asked(
        query,
        source,
        (1,),
        lambda values: values["chosen"],
        partial(_picked, "chosen", names),
        notices=tuple(notices),
    )


def _with_lone_nodes(graph: Graph, term: dict[str, Any]) -> None:
    """A node without edges belongs to the tree too, so that there is none: the root is such."""
    named = {node for edge in graph.edges for node in edge}
    lone = [k for k in range(len(graph.names)) if k not in named]
    if lone:
        term["params"]["root"] = lone[0]


def _node(graph: Graph, name: Any, path: str) -> int:
    """The number of a node by its name."""
    place = {str(node): k for k, node in enumerate(graph.names)}
    if isinstance(name, bool) or str(name) not in place:
        remedy = known(str(name), place)
        raise BadQuery(Mistake(path, f"{shown(name)} is no node of the graph", remedy))
    return place[str(name)]


def _priced(variable: str, weights: Sequence[float], sign: int) -> list[dict[str, Any]]:
    """What each chosen site costs, one table for all that cost the same."""
    sites: dict[float, list[list[int]]] = {}
    for k, weight in enumerate(weights):
        if weight:
            sites.setdefault(weight, []).append([k])
    return [
        {
            "kind": "discrete.table",
            "scope": [variable],
            "required": False,
            "weight": abs(weight),
            "params": {"sites": own, "costs": [0, sign if weight > 0 else -sign]},
        }
        for weight, own in sites.items()
    ]


def _query(variable: str, values: list[int], sites: int, terms: Sequence[Any]) -> Any:
    return query_of(
        {"variables": {variable: {"values": values, "shape": [sites]}}, "terms": list(terms)}
    )


def _sorted(edge: tuple[int, int]) -> tuple[int, int]:
    return min(edge), max(edge)


def _picked(variable: str, names: Sequence[str], values: Values) -> str:
    """The names of what is chosen."""
    chosen = [name for name, one in zip(names, values[variable], strict=True) if one]
    return f"{len(chosen)}: {' '.join(chosen)}"
