"""Edge lists and GraphML: what they read, what may be asked of them, and what they refuse."""

import io

import networkx as nx
import numpy as np
import pytest

from engine import answers
from engine.errors import BadQuery
from modules.catalogue import Catalogue
from modules.shared.graphs import Graph, from_networkx, from_npz, from_pyg
from services.formats import format_of, read
from services.formats.edges import parse
from services.formats.graphml import parse as parse_graphml
from services.reasoner.compile import compile_query

LIST = "# a comment\na b 2\nb\tc,1.5\n\nd\nc a  % and another\n"
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    '<graphml><graph><node id="&b;"/></graph></graphml>'
)


def refused(call, *args):
    with pytest.raises(BadQuery) as caught:
        call(*args)
    return [str(mistake) for mistake in caught.value.mistakes]


def asked(tmp_path, text, given, name="g.edges"):
    (tmp_path / name).write_text(text)
    (one,) = read(str(tmp_path / name), given=given)
    return one


def solved(one):
    (answer,) = answers(compile_query(one.query, Catalogue(entry_points=False)))
    return answer, one.written(0, answer.values)


def test_edge_lists():
    graph = parse(LIST)
    assert graph == Graph(["a", "b", "c", "d"], [(0, 1), (1, 2), (2, 0)], [2, 1.5, 1])
    assert parse("0 1\n1 2").weights is None
    made = nx.karate_club_graph()
    out = io.BytesIO()
    nx.write_edgelist(made, out)
    back = parse(out.getvalue().decode())
    assert len(back.edges) == made.number_of_edges() and sum(back.weights) == made.size("weight")


@pytest.mark.parametrize(
    "text, line",
    [
        ("a b c", "line 1"),
        ("a b\na b 1 2", "line 2"),
        ("a b nan", "line 1"),
        ("a b 1e999", "line 1"),
        ("a b {'weight': 'x'}", "line 1"),
        ("a b {'weight'", "line 1"),
        ("a {}", "line 1"),
        ("# nothing", "line 1"),
    ],
)
def test_edge_lists_that_are_refused(text, line):
    (said,) = refused(parse, text)
    assert said.startswith(line)


@pytest.mark.parametrize(
    "given, energy, solution",
    [
        ({"find": "cut"}, -3.5, None),
        ({"find": "independent_set"}, -2, None),
        ({"find": "vertex_cover"}, 2, None),
        ({"find": "dominating_set"}, 2, None),
        ({"find": "matching"}, -2, [1, 0, 0]),
        ({"find": "shortest_path", "start": "a", "goal": "c"}, 1, [0, 0, 1]),
    ],
)
def test_what_is_asked_of_a_graph(tmp_path, given, energy, solution):
    answer, written = solved(asked(tmp_path, LIST, given))
    assert (answer.status.name, answer.energy) == ("OPTIMAL", energy)
    if solution is not None:
        assert written == solution
    if given["find"] == "cut":
        assert len(written) == 4 and set(written) <= {"0", "1"}
    one = asked(tmp_path, LIST, given)
    assert one.picture(answer.values)


def test_colours_and_trees(tmp_path):
    answer, written = solved(asked(tmp_path, LIST, {"colors": 3}))
    assert answer.status.name == "OPTIMAL" and len(set(written[:3])) == 3 and len(written) == 4
    tree, chosen = solved(asked(tmp_path, "a b 2\nb c 1.5\nc a\n", {"find": "spanning_tree"}))
    assert (tree.status.name, tree.energy, chosen) == ("OPTIMAL", 2.5, [0, 1, 1])
    lone = asked(tmp_path, LIST, {"find": "spanning_tree"})  # d has no edge
    (answer,) = answers(compile_query(lone.query, Catalogue(entry_points=False)))
    assert answer.status.name == "INFEASIBLE"


@pytest.mark.parametrize(
    "given, path",
    [
        (None, "--given"),
        ({"colors": 0}, "--given.colors"),
        ({"colors": 2, "find": "cut"}, "--given"),
        ({"find": "clique"}, "--given.find"),
        ({"find": ["cut"]}, "--given.find"),
        ({"find": "cut", "root": "a"}, "--given.root"),
        ({"find": "spanning_tree", "root": "z"}, "--given.root"),
        ({"find": "shortest_path", "start": "a"}, "--given.goal"),
        ({"colours": 3}, "--given.colours"),
    ],
)
def test_wrong_questions(tmp_path, given, path):
    with pytest.raises(BadQuery) as caught:
        asked(tmp_path, LIST, given)
    assert [m.path for m in caught.value.mistakes] == [path]


def test_graphml(tmp_path):
    made = nx.Graph()
    made.add_node("x", weight=5)
    made.add_edge("x", "y", weight=0.5)
    made.add_edge("y", "z")
    text = "\n".join(nx.generate_graphml(made))
    graph, notices = parse_graphml(text)
    assert graph == Graph(["x", "y", "z"], [(0, 1), (1, 2)], [0.5, 1], [5, 1, 1]) and not notices
    assert format_of("g.xml", text).name == "graphml"
    answer, written = solved(asked(tmp_path, text, {"find": "independent_set"}, "g.graphml"))
    assert (answer.energy, written) == (-6, [1, 0, 1])
    directed = "\n".join(nx.generate_graphml(nx.DiGraph([("a", "b"), ("b", "a")])))
    graph, notices = parse_graphml(directed)
    assert graph.edges == [(0, 1), (1, 0)] and len(notices) == 1


@pytest.mark.parametrize(
    "text, said",
    [
        (BOMB, "a document type or an entity"),
        ('<!DOCTYPE g SYSTEM "file:///etc/passwd"><graphml/>', "a document type or an entity"),
        ("<graphml><graph>", "is no XML"),
        ("<html/>", "not <graphml>"),
        ("<graphml><graph/></graphml>", "no node"),
        ('<graphml><graph><node id="a"/><node id="a"/></graph></graphml>', "stands twice"),
        ('<graphml><graph><node id="a"/><edge source="a"/></graph></graphml>', "without source"),
        ('<graphml><graph><node id="a"/><edge source="a" target="b"/></graph></graphml>', "'b'"),
        ("<graphml><graph><hyperedge/></graph></graphml>", "<hyperedge> is not read"),
        ("<graphml><graph/><graph/></graphml>", "a second graph"),
        ("<graphml>" + "<a>" * 100 + "</a>" * 100 + "</graphml>", "64 elements deep"),
    ],
)
def test_graphml_that_is_refused(text, said):
    assert any(said in line for line in refused(parse_graphml, text))


def test_graphs_of_libraries_and_archives(tmp_path):
    made = nx.Graph([("a", "b"), ("b", "c"), ("c", "c")])
    made["a"]["b"]["weight"] = 2
    graph = from_networkx(made)
    assert graph.edges == [(0, 1), (1, 2), (2, 2)] and graph.weights == [2, 1, 1]
    assert graph.simple().edges == [(0, 1), (1, 2)]
    with pytest.raises(BadQuery, match="finite"):
        made["a"]["b"]["weight"] = "x"
        from_networkx(made)

    class Data:
        edge_index, num_nodes = np.array([[0, 1, 1, 2], [1, 0, 2, 1]]), 4

    assert from_pyg(Data) == Graph(range(4), [(0, 1), (1, 2)])
    path = tmp_path / "g.npz"
    adjacency = {"adj_indptr": [0, 2, 3, 3], "adj_indices": [1, 2, 0], "adj_shape": [3, 3]}
    np.savez(path, **adjacency)
    assert from_npz(path) == Graph(range(3), [(0, 1), (0, 2)])
    np.savez(path, edges=[[0, 1], [1, 0], [2, 2]], weights=[1.5, 9, 2])
    assert from_npz(path) == Graph(range(3), [(0, 1), (2, 2)], [1.5, 2])
    for wrong in ({"edges": [[0, 1, 2]]}, {"adj_indptr": [0]}, {**adjacency, "adj_indptr": [0, 9]}):
        np.savez(path, **wrong)
        with pytest.raises(BadQuery):
            from_npz(path)
    np.savez(path, edges=np.array([[{}, 1]], dtype=object))
    with pytest.raises(BadQuery, match="cannot be read"):
        from_npz(path)
