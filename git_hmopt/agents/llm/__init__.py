# SPDX-License-Identifier: Apache-2.0
"""Agents that ask language models: Trace Analyst, Conductor, Coder and Safety, and the proposer they make together.

What a model says is data. It chooses among what it is offered, and what it writes is held against the source, the
review and the gate like anybody's patch.
"""
