# SPDX-License-Identifier: Apache-2.0
"""Export of (evidence, diff, delta) examples."""
