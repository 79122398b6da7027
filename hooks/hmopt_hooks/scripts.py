# SPDX-License-Identifier: Apache-2.0
"""The shell scripts that are installed, and how ours are told from others.

They decide what they can before Python starts, run what was there before, and answer git whatever becomes of the tool.
The third line has the digest of all that follows, so that a script of another version or place is told from one that
somebody edited.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import sysconfig
from enum import StrEnum
from importlib.resources import files


class Hook(StrEnum):
    """A hook we have something for; see githooks(5)."""

    PRE_PUSH = "pre-push"
    POST_REWRITE = "post-rewrite"
    POST_MERGE = "post-merge"
    POST_CHECKOUT = "post-checkout"
    PRE_RECEIVE = "pre-receive"
    UPDATE = "update"

    @property
    def serves(self) -> bool:
        """Say whether it runs where a push arrives, not where people work."""
        return self in (Hook.PRE_RECEIVE, Hook.UPDATE)


WORKING = (Hook.PRE_PUSH, Hook.POST_REWRITE, Hook.POST_MERGE, Hook.POST_CHECKOUT)
SERVING = (Hook.PRE_RECEIVE,)

_SOURCES = {
    Hook.PRE_PUSH: "pre-push.sh",
    Hook.POST_REWRITE: "post-rewrite.sh",
    Hook.POST_MERGE: "refresh.sh",
    Hook.POST_CHECKOUT: "refresh.sh",
    Hook.PRE_RECEIVE: "rule.sh",
    Hook.UPDATE: "rule.sh",
}
_MARK = re.compile(
    rb"#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"
    rb"# git-hmopt's hook (?P<hook>[a-z-]+), sha256 of what follows: (?P<digest>[0-9a-f]{64})\n(?P<rest>.*)",
    re.DOTALL,
)


class Origin(StrEnum):
    """Whose the bytes of a hook are."""

    OURS = "ours"
    OLD = "ours, of another version or place"
    EDITED = "ours, edited"
    FOREIGN = "foreign"


def script(hook: Hook, tool: str) -> bytes:
    """Return the script of a hook that calls the program `tool`, a path or a name."""
    rest = (
        "# Written by 'git hmopt hooks install'; 'git hmopt hooks uninstall' puts back what was here before.\n"
        f"hook={hook}\ntool={shlex.quote(tool)}\n{_text('head.sh')}\n{_text(_SOURCES[hook])}"
    ).encode("utf-8", "surrogateescape")
    head = (
        "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"
        f"# git-hmopt's hook {hook}, sha256 of what follows: {hashlib.sha256(rest).hexdigest()}\n"
    )
    return head.encode() + rest


def origin(data: bytes, hook: Hook, tool: str) -> Origin:
    """Say whose a hook is, by its bytes."""
    if data == script(hook, tool):
        return Origin.OURS
    mark = _MARK.fullmatch(data)
    if mark is None or mark["hook"].decode() != hook:
        return Origin.FOREIGN
    intact = hashlib.sha256(mark["rest"]).hexdigest() == mark["digest"].decode()
    return Origin.OLD if intact else Origin.EDITED


def installed_tool() -> str:
    """Return the program that hooks call: the one beside this Python, since a server's search path is short."""
    beside = shutil.which("git-hmopt", path=sysconfig.get_path("scripts"))
    return beside or shutil.which("git-hmopt") or "git-hmopt"


def _text(name: str) -> str:
    source = (files("hmopt_hooks") / "shell" / name).read_text(encoding="utf-8")
    return source.removeprefix("# SPDX-License-Identifier: Apache-2.0\n")
