# SPDX-License-Identifier: Apache-2.0
"""The one door to language models: which may be asked, what may leave, what it costs; off until a person configures it.

Nothing here opens a connection by itself: `client.Gateway.ask` does, after `policy` agreed and `outbound` took out what
must not leave.
"""
