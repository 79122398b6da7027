# SPDX-License-Identifier: Apache-2.0
"""Make a kernel faster, prove it, and keep the proof in git."""

__version__ = "0.1.0"
