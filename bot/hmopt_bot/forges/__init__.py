# SPDX-License-Identifier: Apache-2.0
"""The forges, without I/O: requests are built and answers parsed here; who sends them is elsewhere in the bot.

May import `records`, `errors`, `config` and gidgethub's sans-IO part. Raw deliveries and answers come in as bytes;
events, values and requests go out. Nothing here opens a socket or reads a clock.
"""
