# SPDX-License-Identifier: Apache-2.0
"""A run's story, folded from its journal, as markdown and on one screen; answers about the source, as lines.

May import `store`, `evidence`, `records.words` and `errors`, and no pydantic: `git hmopt show` starts with this room.
`structure` alone imports `psg`, whose answers it words; it is loaded by the commands that ask the source.
Operations come from journals as plain JSON values, text goes to `cli`, `loop` and `bot`.
"""
