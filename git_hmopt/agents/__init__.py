# SPDX-License-Identifier: Apache-2.0
"""Who proposes patches: the playbook's strategies, a person's patches; and the conductor that chooses what to try.
What a model answers becomes file contents here, or complaints to send back.

May import `evidence`, `psg`, `store`, `config`, `records`, `errors`. An evidence pack and the source as the best has it
come in; decisions and proposals go to `loop`, which alone writes.
"""
