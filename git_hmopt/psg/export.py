# SPDX-License-Identifier: Apache-2.0
"""A neighbourhood as GraphML, DOT or JSON, for other programs."""

from __future__ import annotations

import io
from typing import Any

import networkx as nx

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
    nx.write_graphml(graph, written, named_key_ids=True)
    return written.getvalue()


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
    return text.replace("\\", "\\\\").replace('"', '\\"')
