# SPDX-License-Identifier: Apache-2.0
"""One file per artefact format, all yielding the same sample and event tables."""
