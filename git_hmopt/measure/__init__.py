# SPDX-License-Identifier: Apache-2.0
"""Layouts, A/B statistics, correctness checks, policy and verdicts."""
