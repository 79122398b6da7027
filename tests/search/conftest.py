# SPDX-License-Identifier: Apache-2.0
"""The repositories of the store's tests: search is tried in the same ones."""

from tests.store.conftest import any_shell, sealed_home, shell

__all__ = ["any_shell", "sealed_home", "shell"]
