# SPDX-License-Identifier: Apache-2.0
"""The LangGraph state machine that drives a run: state, instruments, nodes, checkpoints, stop rules.

May import every room but `cli` and `bot`; the only room that knows LangGraph. A run's plan comes in, operations go
to the run's journal, and what a node needs of earlier nodes it reads back from there.
"""
