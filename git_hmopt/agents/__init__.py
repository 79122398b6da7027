# SPDX-License-Identifier: Apache-2.0
"""Who proposes patches: the playbook, a person's patches; and the conductor that chooses."""
