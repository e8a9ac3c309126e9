"""GraphML, as networkx, yEd and Gephi write it: nodes, edges, and the attribute `weight` of either.

Read as a stream, element by element. A document type, an entity or a file elsewhere is refused
before anything of it is expanded. Nodes and edges keep the order of the file; directions, and all
other attributes, count for nothing. What is asked of the graph is an input, as in `edges`.
"""

from typing import Any, ClassVar
from xml.parsers import expat

from engine.errors import BadQuery, Mistake, Mistakes, shown
from modules.shared.graphs import Graph
from services.formats.base import Asked, Format
from services.formats.edges import filled, number_of
from services.formats.graphs import asked_of

NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
REFUSED = {
    "hyperedge": "write an edge for each pair of its nodes",
    "port": "let edges name nodes alone",
}
DEEP = 64  # elements within each other


class GraphML(Format):
    name: ClassVar[str] = "graphml"
    suffixes: ClassVar[tuple[str, ...]] = (".graphml",)

    def sniff(self, text: str) -> bool:
        return "<graphml" in text[:4096]

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        graph, notices = parse(text)
        return asked_of(graph, source, given, notices)


def parse(text: str) -> tuple[Graph, tuple[str, ...]]:
    """The graph of a text, and what of it counts for nothing. Raises BadQuery with mistakes."""
    reader = _Reader()
    try:
        reader.parser.Parse(text.encode("utf-8", "surrogateescape"), True)
    except expat.ExpatError as error:
        problem = f"is no XML: {expat.ErrorString(error.code)}"
        raise BadQuery(Mistake(f"line {error.lineno}", problem, "mend the file")) from None
    return reader.graph(), reader.notices()


class _Reader:
    """What has been read so far."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.ExternalEntityRefHandler = self._refuse
        self.wrong = Mistakes()
        self.keys: dict[str, tuple[str, float | None]] = {}  # of weights: for what, the default
        self.place: dict[str, int] = {}
        self.nodes: list[float | None] = []
        self.edges: list[tuple[str, str, int]] = []
        self.weights: list[float | None] = []
        self.depth: list[str] = []
        self.graphs, self.directed = 0, False
        self.key: str | None = None  # whose text is being read
        self.words: list[str] | None = None

    @property
    def line(self) -> int:
        return self.parser.CurrentLineNumber

    def _refuse(self, *told: Any) -> int:
        del told
        problem = "a document type or an entity, which may name files or grow without end"
        raise BadQuery(Mistake(f"line {self.line}", problem, "leave it out; GraphML needs none"))

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        space, _, name = tag.rpartition(" ")
        self.depth.append(name)
        if len(self.depth) > DEEP:
            raise BadQuery(Mistake(f"line {self.line}", f"{DEEP} elements deep", "mend the file"))
        if space not in ("", NAMESPACE):
            return  # what a program writes for itself
        if len(self.depth) == 1 and name != "graphml":
            problem = f"begins with <{shown(name, 20)}>, not <graphml>"
            raise BadQuery(Mistake(f"line {self.line}", problem, "give a GraphML file"))
        if name in REFUSED:
            self.wrong.add(self.line, f"<{name}> is not read", REFUSED[name])
        elif name == "graph":
            self._graph(attributes)
        elif name == "key" and attributes.get("attr.name") == "weight":
            self.key = attributes.get("id", "")
            self.keys[self.key] = attributes.get("for", "all"), None
        elif name == "default" and self.key in self.keys:
            self.words = []
        elif name == "node":
            self._node(attributes)
        elif name == "edge":
            self._edge(attributes)
        elif name == "data" and attributes.get("key") in self.keys:
            self.words = []

    def _graph(self, attributes: dict[str, str]) -> None:
        self.graphs += 1
        if self.graphs > 1:
            self.wrong.add(self.line, "a second graph, or one within another", "give one a file")
        self.directed |= attributes.get("edgedefault") == "directed"

    def _node(self, attributes: dict[str, str]) -> None:
        name = attributes.get("id")
        if name is None:
            self.wrong.add(self.line, "a node without id", "give it one")
        elif name in self.place:
            self.wrong.add(self.line, f"node {shown(name)} stands twice", "name every node once")
        self.place.setdefault(name or "", len(self.place))
        self.nodes.append(None)

    def _edge(self, attributes: dict[str, str]) -> None:
        ends = attributes.get("source"), attributes.get("target")
        if None in ends:
            self.wrong.add(self.line, "an edge without source and target", "name both of its nodes")
        self.edges.append((ends[0] or "", ends[1] or "", self.line))
        self.weights.append(None)
        self.directed |= attributes.get("directed") == "true"

    def _text(self, text: str) -> None:
        if self.words is not None:
            self.words.append(text)

    def _end(self, tag: str) -> None:
        self.depth.pop()
        name = tag.rpartition(" ")[2]
        if name == "key":
            self.key = None
        if self.words is None or name not in ("data", "default"):
            return
        word = "".join(self.words).strip()
        self.words = None
        weight = number_of(word)
        if weight is None:
            self.wrong.add(self.line, f"{shown(word)} is no weight", "give a finite number")
        elif name == "default":
            assert self.key is not None
            self.keys[self.key] = self.keys[self.key][0], weight
        elif self.depth[-1] == "node":
            self.nodes[-1] = weight
        elif self.depth[-1] == "edge":
            self.weights[-1] = weight

    def graph(self) -> Graph:
        """The graph, when all is read."""
        edges = []
        for a, b, line in self.edges:
            missing = [end for end in (a, b) if end not in self.place]
            if missing:
                problem = f"an edge to {shown(missing[0])}, which is no node"
                self.wrong.add(line, problem, "add the node, or mend the edge")
            else:
                edges.append((self.place[a], self.place[b]))
        if not self.place and not self.wrong.found:
            self.wrong.add(self.line, "no node in the whole graph", "write at least one")
        self.wrong.check()
        weights, worth = self._filled("edge", self.weights), self._filled("node", self.nodes)
        return Graph(list(self.place), edges, weights, worth)

    def _filled(self, what: str, weights: list[float | None]) -> list[float] | None:
        """Weights, the default of their key where one is missing, else 1."""
        default = [d for of, d in self.keys.values() if of in (what, "all") and d is not None]
        if default:
            weights = [default[0] if weight is None else weight for weight in weights]
        return filled(weights)

    def notices(self) -> tuple[str, ...]:
        return ("directions of edges count for nothing",) if self.directed else ()
