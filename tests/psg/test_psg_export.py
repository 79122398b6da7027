# SPDX-License-Identifier: Apache-2.0
"""A neighbourhood for other programs: networkx reads the GraphML again, and DOT is quoted as graphviz needs it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess

import networkx as nx
import pytest

from git_hmopt.psg.export import as_dot, as_graphml, as_json

ODD = 'a.c:"q\\u"<&>\n\x01\udcff'


def graph() -> nx.MultiDiGraph:
    """Return a graph with a table, two edges between the same nodes, and a name that needs quoting."""
    made = nx.MultiDiGraph(left_out=2)
    made.add_node("f", kind="function", file="a.c", line=3, depth=0)
    made.add_node("CONFIG_A", kind="config", file="Kconfig", line=1, depth=1)
    made.add_node(ODD, kind="", file="", line=0, depth=1)
    for key, relation, detail in (("1", "call_static", ""), ("2", "ref", 'address "x"')):
        made.add_edge("f", ODD, key=key, relation=relation, detail=detail, file="a.c", line=4, count=1)
    made.add_edge("CONFIG_A", "f", key="3", relation="config_guard", detail="if", file="a.c", line=2, count=1)
    return made


def test_json_has_everything_in_a_stable_order() -> None:
    told = as_json(graph())
    assert [node["symbol"] for node in told["nodes"]] == ["CONFIG_A", ODD, "f"]
    assert [(one["source"], one["target"], one["relation"]) for one in told["edges"]] == [
        ("CONFIG_A", "f", "config_guard"), ("f", ODD, "call_static"), ("f", ODD, "ref"),
    ]  # fmt: skip
    assert told["left_out"] == 2
    assert json.loads(json.dumps(told)) == told


def test_an_empty_graph() -> None:
    empty = nx.MultiDiGraph(left_out=0)
    assert as_json(empty) == {"nodes": [], "edges": [], "left_out": 0}
    assert nx.read_graphml(io.BytesIO(as_graphml(empty))).number_of_nodes() == 0
    assert as_dot(empty).endswith("}\n")


def test_graphml_is_read_again() -> None:
    read = nx.read_graphml(io.BytesIO(as_graphml(graph())), force_multigraph=True)
    shown = 'a.c:"q\\u"<&>\n\ufffd\ufffd'
    assert set(read) == {"f", "CONFIG_A", shown}
    assert read.nodes["f"] == {"kind": "function", "file": "a.c", "line": 3, "depth": 0}
    assert sorted(edge["detail"] for *_, edge in read.edges(data=True)) == ["", 'address "x"', "if"]


def test_dot_quotes_names() -> None:
    lines = as_dot(graph()).split("\n")
    assert '  "f" [label="f\\na.c:3", shape=box, style=bold];' in lines
    assert '  "CONFIG_A" -> "f" [style=dashed, label="config_guard if", fontsize=8];' in lines
    odd = '"a.c:\\"q\\\\u\\"<&>\\n\ufffd\ufffd"'
    assert f"  {odd} [label={odd}, shape=ellipse, style=solid];" in lines
    assert f'  "f" -> {odd} [style=solid];' in lines


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_graphviz_reads_dot() -> None:
    done = subprocess.run(["dot", "-Tplain"], input=as_dot(graph()).encode(), capture_output=True, check=True)
    words = [line.split(b" ")[0] for line in done.stdout.splitlines()]
    assert (words.count(b"node"), words.count(b"edge"), done.stderr) == (3, 3, b"")
