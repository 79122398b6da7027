# SPDX-License-Identifier: Apache-2.0
"""Named, documented rewrites, found by shape in the syntax and by heat in the profile; one file a strategy.

May import `psg`, `evidence`, `records`, `errors` and `agents.proposer`. No strategy knows a function, file or workload.
"""
