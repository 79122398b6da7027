# SPDX-License-Identifier: Apache-2.0
"""One file per artefact format, all yielding the same sample and event tables.

May import `records`, `store` and `errors`; in this room only the parsers of one format each know its syntax.
Bytes come from the captures of profiler adapters (or of users), tables go to `runtime` and `evidence`.
"""
