# SPDX-License-Identifier: Apache-2.0
"""Joins the static and the runtime graph into the evidence pack."""
