# SPDX-License-Identifier: Apache-2.0
"""Git is the database: the one door to git, journals, notes, branches, artifacts, redaction at record time, the derived cache."""
