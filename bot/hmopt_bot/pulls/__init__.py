# SPDX-License-Identifier: Apache-2.0
"""What is said about a pull request: values from what is known here, and their texts.

May import `psg`, `loop`, `store`, `records`, `report`'s wording and `forges`. Both sides of a change come in, read by
the caller; what comes out is Markdown, annotations and titles. Nothing here talks to a forge, builds or runs anything.
"""
