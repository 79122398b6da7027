# SPDX-License-Identifier: Apache-2.0
"""A neighbourhood as GraphML, DOT or JSON, for other programs."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import networkx as nx

_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SHAPES = {"function": "box", "config": "hexagon", "file": "note", "macro": "plain"}


def as_json(graph: nx.MultiDiGraph) -> dict[str, Any]:
    """Return nodes and edges as lists of objects, in a stable order."""
    return {
        "nodes": [{"symbol": symbol, **graph.nodes[symbol]} for symbol in sorted(graph)],
        "edges": [
            {"source": source, "target": target, **told}
            for source, target, _, told in sorted(graph.edges(keys=True, data=True), key=lambda edge: edge[:3])
        ],
        "left_out": graph.graph["left_out"],
    }


def as_graphml(graph: nx.MultiDiGraph) -> bytes:
    """Return GraphML (graphml.graphdrawing.org)."""
    written = io.BytesIO()
    plain = nx.MultiDiGraph()
    plain.add_nodes_from((_writable(symbol), _all_writable(told)) for symbol, told in graph.nodes(data=True))
    plain.add_edges_from(
        (_writable(source), _writable(target), key, _all_writable(told))
        for source, target, key, told in graph.edges(keys=True, data=True)
    )
    nx.write_graphml(plain, written, named_key_ids=True)
    return written.getvalue()


def _writable(text: str) -> str:
    """Return a text without what XML 1.0 has no way to write: control characters, and bytes that are no UTF-8."""
    return _UNWRITABLE.sub("\ufffd", text)


def _all_writable(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _writable(value) if isinstance(value, str) else value for name, value in told.items()}


def as_dot(graph: nx.MultiDiGraph) -> str:
    """Return the graph in graphviz's language: what was asked for is bold, indirect and table edges are dashed."""
    lines = ["digraph structure {", "  rankdir=LR;", '  node [fontname="sans-serif", fontsize=10];']
    for symbol in sorted(graph):
        node = graph.nodes[symbol]
        shape, style = _SHAPES.get(node["kind"], "ellipse"), "bold" if node["depth"] == 0 else "solid"
        place = f"{node['file']}:{node['line']}" if node["file"] else ""
        label = "\\n".join(_escaped(part) for part in (symbol, place) if part)
        lines.append(f'  "{_escaped(symbol)}" [label="{label}", shape={shape}, style={style}];')
    for source, target, _, edge in sorted(graph.edges(keys=True, data=True), key=lambda one: one[:3]):
        dashed = "solid" if edge["relation"] == "call_static" else "dashed"
        label = " ".join(part for part in (edge["relation"], edge["detail"]) if part)
        shown = "" if edge["relation"] == "call_static" else f', label="{_escaped(label)}", fontsize=8'
        lines.append(f'  "{_escaped(source)}" -> "{_escaped(target)}" [style={dashed}{shown}];')
    return "\n".join([*lines, "}"]) + "\n"


def _escaped(text: str) -> str:
    return _writable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
