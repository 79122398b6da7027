# SPDX-License-Identifier: Apache-2.0
"""Git is the database: one door to it, journals, notes, refs, build trees, artifacts, redaction, the derived cache.

May import `records`, `process` and `errors`; only this room knows pygit2 and the database driver.
Values come from `loop` as records, go into git objects and refs, and are read back by `report` and `cli`.
"""
