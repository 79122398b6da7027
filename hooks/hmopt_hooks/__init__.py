# SPDX-License-Identifier: Apache-2.0
"""Git hooks that `git hmopt hooks install` offers: none of them blocks git when it is broken."""
