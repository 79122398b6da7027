# SPDX-License-Identifier: Apache-2.0
"""The one place that starts other programs: limits, process groups, streamed output, sandbox.

May import `errors` and `records`. Callers give an argument vector and a built environment, and get a result or
a typed error with the end of the output; nothing a program starts outlives its limit.
"""
