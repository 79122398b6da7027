# SPDX-License-Identifier: Apache-2.0
"""The HTTP API over a repository's runs, and the endpoint of forges' webhooks.

May import `forges`, `report`, `store`, `loop`, `records`, `config` and `errors`; only this room knows FastAPI and
uvicorn. What it is asked to do it puts into the durable queue, where `work` finds it; what it tells comes from the
journals.
"""
