# SPDX-License-Identifier: Apache-2.0
"""The repositories of the store's tests: retrieval is tried in the same ones."""

from tests.store.conftest import sealed_home, shell

__all__ = ["sealed_home", "shell"]
