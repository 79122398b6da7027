# SPDX-License-Identifier: Apache-2.0
"""Messages of exchanges with models, for the tests of what is told and counted of them."""

from __future__ import annotations

from typing import Any, get_args

from git_hmopt.records.run import AgentMessage
from git_hmopt.report.facts import MessageFacts, read_message
from git_hmopt.report.fields import Fields

HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e`|" + "x" * 10_000
ASKED = {
    "model": "qwen3-coder-30b", "prompt_tokens": "800", "completion_tokens": "200", "counted_by": "server",
    "seconds": "3.25", "cost": "0.002", "currency": "EUR", "attempts": "1", "prompt_bytes": "2400",
}  # fmt: skip


def exchange_data(
    *, iteration: int = 1, agent: str = "coder", role: str = "answer", text: str = "one edit", **changed: str | None
) -> dict[str, Any]:
    """Return the data of an operation with an exchange; what is None is not told."""
    told = {key: value for key, value in {**ASKED, **changed}.items() if value is not None}
    record = AgentMessage.model_validate(
        {"iteration": iteration, "agent": agent, "role": role, "text": text, "data": told}
    )
    return {"message": record.model_dump(mode="json")}


def message(*, iteration: int = 1, **changed: Any) -> MessageFacts:
    """Return the same as a report has it."""
    return read_message(Fields(exchange_data(iteration=iteration, **changed)["message"]), iteration)


def roles() -> tuple[str, ...]:
    """Return the roles there are."""
    return get_args(AgentMessage.model_fields["role"].annotation)
