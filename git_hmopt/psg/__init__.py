# SPDX-License-Identifier: Apache-2.0
"""The static structure of the source: compile commands, a unit's functions, calls, references, syntax; edits by extent.

May import `records`, `process`, `errors`, and is the only room that imports clang or tree-sitter. Source trees and
build directories come in; values without either in them go to `evidence`, `search` and `agents`.
"""
