# SPDX-License-Identifier: Apache-2.0
"""Everything that is stored, as versioned, frozen pydantic records; and the field's words as types.

May import `errors` only. Values come from the rooms above, go to `store`, and are read back forever.
This file imports nothing, so that the read paths of the command line start without pydantic.
"""
