# SPDX-License-Identifier: Apache-2.0
"""Joins the static and the runtime graph into the evidence pack, and shows it within a token budget.

May import `psg`, `runtime`, `traces`, `store`, `config`, `records` and `errors`; pure functions from values to values.
Structure comes from `psg`, costs from `runtime`; packs and prompts go to `agents`, `loop` and `dataset`.
"""
