# SPDX-License-Identifier: Apache-2.0
"""The C tree that ships with the package, and how it becomes a repository to optimise.

A top room beside `cli`: may import `errors`, `records` and `store`. Nothing comes in but the package's own data in
`tree/`; a git repository with one commit goes out.
"""
