# SPDX-License-Identifier: Apache-2.0
"""Export of (evidence, diff, delta) examples as JSON lines.

May import `evidence`, `store`, `records` and `errors`; the story of `report` is known by its shape only.
Stories and stored attachments come in, lines for researchers go out; what is missing is named, never invented.
"""
