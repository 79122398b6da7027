# SPDX-License-Identifier: Apache-2.0
"""From tables: KPIs of events, the runtime call graph and the ranking of hotspots.

May import `traces`, `records` and `errors`; pure functions from values to values.
Tables come from `traces`; KPIs, graphs and ranked symbols go to `evidence` and `loop`.
"""
