# SPDX-License-Identifier: Apache-2.0
"""Check runs and commit statuses as the forges take them, within their bounds."""

from __future__ import annotations

from collections.abc import Sequence

from hmopt_bot.forges import limits
from hmopt_bot.forges.values import Annotation, CheckRun, Status


def body(check: CheckRun) -> dict[str, object]:
    """Return a check run, with its first annotations, as the API takes it."""
    found = limits.batches(check.annotations)
    made: dict[str, object] = {
        "name": limits.line(check.name, limits.TITLE),
        "external_id": check.external_id,
        "output": output(check, found[0] if found else ()),
        "status": "completed" if check.conclusion else "in_progress",
    }
    if check.conclusion:
        made["conclusion"] = check.conclusion.value
    if check.details_url:
        made["details_url"] = check.details_url
    return made


def output(check: CheckRun, annotations: Sequence[Annotation]) -> dict[str, object]:
    """Return what a check run shows, with at most 50 annotations; the API appends them to those it has."""
    shown: dict[str, object] = {
        "title": limits.line(check.title, limits.TITLE),
        "summary": limits.cut(check.summary, limits.CHECK_TEXT),
    }
    if check.text:
        shown["text"] = limits.cut(check.text, limits.CHECK_TEXT)
    if annotations:
        shown["annotations"] = [_annotation(one) for one in annotations]
    return shown


def later(check: CheckRun) -> tuple[dict[str, object], ...]:
    """Return the updates that append the annotations after the first ones."""
    return tuple({"output": output(check, batch)} for batch in limits.batches(check.annotations)[1:])


def status_body(status: Status) -> dict[str, object]:
    """Return a commit status as the API takes it."""
    return {
        "context": limits.line(status.context, limits.TITLE),
        "state": status.state.value,
        "description": limits.line(status.description, limits.STATUS),
        **({"target_url": status.target_url} if status.target_url else {}),
    }


def _annotation(one: Annotation) -> dict[str, object]:
    return {
        "path": one.path,
        "start_line": one.start_line,
        "end_line": one.end_line,
        "annotation_level": one.level.value,
        "message": limits.cut(one.message, limits.MESSAGE),
        **({"title": limits.line(one.title, limits.TITLE)} if one.title else {}),
    }
