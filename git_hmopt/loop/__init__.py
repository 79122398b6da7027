# SPDX-License-Identifier: Apache-2.0
"""The LangGraph state machine: state, nodes, stop rules, checkpoints."""
