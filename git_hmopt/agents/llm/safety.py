# SPDX-License-Identifier: Apache-2.0
"""Safety: what a model wrote is reviewed before anything of it is built; by rules first, by a model where one is asked.

The gate's policy holds every patch, whoever wrote it; these rules are for code that no person has read yet. They look
at lines that are new, comments and strings included, and would rather refuse a fair patch than run such a one.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from git_hmopt.agents.edits import Edits
from git_hmopt.agents.llm.desk import Desk
from git_hmopt.agents.llm.fencing import fenced
from git_hmopt.agents.llm.prompting import Conversation, prompt
from git_hmopt.agents.llm.structured import BadAnswerError, asked
from git_hmopt.agents.proposer import Source
from git_hmopt.config.document import printable
from git_hmopt.errors import HmoptError
from git_hmopt.gateway.errors import GatewayError
from git_hmopt.gateway.profile import Role
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.records.redaction import credentials

_RULES = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (
            r"\b(?:system|popen|execv?[elp]{0,2}|posix_spawnp?|v?fork|dlopen|dlsym|ptrace|call_usermodehelper\w*"
            r"|run_cmd|request_module\w*|kernel_execve)\s*\(",
            "runs a program or loads code",
        ),
        (
            r"\b(?:f?open(?:at|64)?|creat|unlink(?:at)?|rename(?:at)?|chmod|chown|mknod|mount|filp_open|kernel_read\w*"
            r"|kernel_write|vfs_(?:read|write|unlink|rename)|ksys_\w+|do_sys_open\w*)\s*\(",
            "reaches for files",
        ),
        (
            r"\b(?:socket|connect|sendto|getaddrinfo|sock_create\w*|kernel_(?:connect|sendmsg|bind))\s*\(",
            "reaches for the network",
        ),
        (r"\b(?:getenv|setenv|printf|puts|fprintf|write)\s*\(", "reads the environment or writes output"),
        (r"(?<![<\"/\w])_*asm_*\b(?![/.])", "is written in assembly, which nothing here can review"),
        (r"\.incbin\b", "includes a file as data"),
        (r"#\s*include\s*[<\"](?:/|[^>\"]*\.\.)", "includes a file by a path out of the tree"),
        (r"#\s*include(?:_next)?\s+[^<\"\s]|#\s*include_next\b|#\s*embed\b|__has_embed", "includes what a macro names"),
        (
            r"\b_*(?:constructor|destructor|alias|ifunc|weak|weakref|section|cleanup|no_instrument_function"
            r"|no_sanitize\w*|symver)_*\s*\(?",
            None,
        ),
        (r"\b(?:set_memory_\w+|text_poke\w*|patch_text\w*|kallsyms_lookup_name|register_k(?:ret)?probe)\b",
         "changes code or its protection while it runs"),
        (r"\b(?:static_call_update|ftrace_set_\w+)\b", "changes code while it runs"),
        (r"\?\?[=/'()!<>-]", "holds a trigraph, which hides what it is"),
        (r"(?<![\w\\])(?:%:|<%|%>|<:|:>)(?!:)", "holds a digraph, which hides what it is"),
    )
)  # fmt: skip
_ATTRIBUTE = re.compile(r"__attribute__|__section|__alias|__weak|__cleanup|\[\[")
_MARK = "changes how the function is linked, placed or run"


def broken_rules(edits: Edits, source: Source) -> tuple[str, ...]:
    """Return what new lines break, each with its place; empty when nothing does."""
    found = []
    for path, new in edits.contents.items():
        old = source.read(path) or b""
        # A model is shown names for them, and what it quotes is put back: into another file it would be published.
        if any(one.encode("utf-8", "surrogateescape") not in old for one in credentials(_text(new))):
            found.append(f"{path}: the patch writes a key or token into a file that did not hold it")
        for number, line in _new_lines(old, new):
            for pattern, what in _RULES:
                hit = pattern.search(line)
                if hit and (what is not None or _ATTRIBUTE.search(line)):
                    found.append(f"{printable(path)}:{number} {what or _MARK}: {printable(hit[0].strip())}")
    return tuple(found)


def _new_lines(old: bytes, new: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines that are more often in the new text than in the old; moved ones are not new."""
    left = Counter(_squeezed(line) for line in old.decode("utf-8", "replace").split("\n"))
    joined = re.sub(r"\\\n", "", new.decode("utf-8", "replace"))
    for number, line in enumerate(joined.split("\n"), 1):
        key = _squeezed(line)
        if left[key]:
            left[key] -= 1
        else:
            yield number, line


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _squeezed(line: str) -> str:
    return " ".join(line.split())


class ReviewReply(BaseModel):
    """What the reviewer answers."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    verdict: Literal["safe", "unsafe"]
    reasons: tuple[str, ...] = ()


def review_by_model(desk: Desk, title: str, edits: Edits, pack: EvidencePack, source: Source) -> str | None:
    """Return why a model calls a patch unsafe, None when it does not; a review that fails is no objection.

    The rules and the gate stand whatever a reviewer says; it can only refuse more.
    """

    def checked(reply: ReviewReply) -> None:
        if reply.verdict == "unsafe" and not any(one.strip() for one in reply.reasons):
            raise BadAnswerError("reasons is empty: say what is unsafe, and where")

    shown = prompt(
        "safety",
        title=fenced("title", title),
        diff=fenced("patch", diff_text(edits.contents, source)),
        risks=fenced("risks", "\n".join(_risks(edits, pack)) or "nothing is known"),
    )
    talk = Conversation(lambda evidence: shown, pack, desk.habits.prompt_tokens, desk.counted)
    try:
        reply = asked(desk, "safety", Role.REASONING, talk, ReviewReply, checked)
    except (BadAnswerError, GatewayError) as error:
        desk.came(f"no review: {error.what if isinstance(error, HmoptError) else error}")
        return None
    reasons = printable("; ".join(" ".join(one.split()) for one in reply.reasons))[:1_000]
    desk.came(f"{reply.verdict}{': ' if reasons else ''}{reasons}")
    return reasons if reply.verdict == "unsafe" else None


def diff_text(contents: Mapping[str, bytes], source: Source) -> str:
    """Return the patch as a reader sees it."""
    parts: list[str] = []
    for path, new in contents.items():
        old = (source.read(path) or b"").decode("utf-8", "replace").split("\n")
        text = new.decode("utf-8", "replace").split("\n")
        parts += difflib.unified_diff(old, text, f"a/{path}", f"b/{path}", n=12, lineterm="")
    return "\n".join(parts)


def _risks(edits: Edits, pack: EvidencePack) -> list[str]:
    changed = {name for _, name in edits.functions}
    return [
        f"{evidence.hotspot.symbol}: {risk}"
        for evidence in pack.hotspots
        for risk in evidence.risks
        if not changed or evidence.hotspot.symbol in changed
    ]
