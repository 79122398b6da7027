# SPDX-License-Identifier: Apache-2.0
"""Who proposes patches: the playbook's strategies, a person's patches; and the conductor that chooses what to try.

May import `evidence`, `psg`, `records`, `errors`. An evidence pack and the source as the best has it come in; decisions
and proposals go to `loop`, which alone writes.
"""
