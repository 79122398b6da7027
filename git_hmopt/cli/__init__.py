# SPDX-License-Identifier: Apache-2.0
"""One file per `git hmopt <command>`: parse, call, print; no logic."""
