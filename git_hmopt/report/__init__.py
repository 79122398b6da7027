# SPDX-License-Identifier: Apache-2.0
"""A run's story as markdown, and on one screen."""
