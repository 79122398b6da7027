# SPDX-License-Identifier: Apache-2.0
"""The sixteen nodes: each takes the bench and the state, calls the rooms, and returns what is to be recorded."""
