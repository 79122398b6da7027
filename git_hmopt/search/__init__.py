# SPDX-License-Identifier: Apache-2.0
"""Search by words and by likeness: the functions of a commit, the traces of runs, and what was tried before.

May import `psg`, `store`, `records` and `errors`. Trees and the cache come in, entries go into the store's search
index, hits go to `cli`.
"""
