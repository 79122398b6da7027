# SPDX-License-Identifier: Apache-2.0
"""The HTTP API, and the bot that says on a pull request what is true about it."""
