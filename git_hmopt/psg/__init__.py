# SPDX-License-Identifier: Apache-2.0
"""The static structure of the source, from libclang: compile database, one unit's functions, calls, references and syntax."""
