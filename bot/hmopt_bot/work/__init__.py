# SPDX-License-Identifier: Apache-2.0
"""The processes that do what the queue says: drive runs, one after the other, and go on with them after a kill.

May import `store`, `loop`, `records`, `process` and `errors`. A run is driven by the `git-hmopt` command in a process
of its own, so that a limit, a crash or a signal that hits it hits nothing else.
"""
