# SPDX-License-Identifier: Apache-2.0
"""From tables: the runtime call graph and the ranking of hotspots."""
