# SPDX-License-Identifier: Apache-2.0
"""Layouts, samples, statistics, checks and policy: what decides whether a candidate is better, and by how much.

May import `adapters`, `records`, `process`, `config` and `errors`; a pure core whose only I/O is calling an adapter.
Builds, readings and diffs come from adapters and `loop`; estimates, verdicts and their reasons go back to `loop`.
"""
