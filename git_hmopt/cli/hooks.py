# SPDX-License-Identifier: Apache-2.0
"""Have git call this tool: before a push, after a rebase, a merge or a checkout, and where a push arrives.

In a clone people work in: pre-push says that there is evidence for what leaves, post-rewrite notes on rewritten commits
where their change was measured, post-merge and post-checkout have the structure graph parsed in the background. In a
bare repository: pre-receive refuses to move a branch that a rule (`hmopt.rule.<name>.branch`, `.workloads`, `.require`,
`.path`) protects to a commit with a measured regression, or with no evidence. HOOK names others than these.

What is there already is kept as <hook>.hmopt-kept and runs first; uninstall puts it back byte for byte. Whatever
becomes of this tool, no hook of a clone stops git; `hmopt.hooks.broken` says what a server does then. `run` is what the
scripts call.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from git_hmopt.errors import ExitCode, HmoptError, UsageError
from git_hmopt.store.repository import Repository

if TYPE_CHECKING:
    from hmopt_hooks.places import Folder, Found
    from hmopt_hooks.scripts import Hook

ACTIONS = ("print", "install", "uninstall", "status", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("action", choices=ACTIONS, help="print a script, install, uninstall, tell what is there, run")
    parser.add_argument("hooks", nargs="*", metavar="HOOK", help="only these; of run: one, and what git gives it")
    parser.add_argument(
        "--force", action="store_true", help="also where other repositories look for hooks, and over edited ones"
    )
    parser.add_argument("--json", action="store_true", help="of status: print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Do what was asked."""
    if options.action == "run":
        return _run(options.hooks)
    if options.json and options.action != "status":
        raise UsageError("hooks: --json is only for status", next_step="see: git hmopt hooks -h")
    actions: Mapping[str, Callable[[argparse.Namespace], ExitCode]] = {
        "print": _print,
        "install": _install,
        "uninstall": _uninstall,
        "status": _status,
    }
    return actions[options.action](options)


def _named(words: Sequence[str], default: Sequence[Hook]) -> list[Hook]:
    from git_hmopt.config.explain import unknown
    from hmopt_hooks.scripts import Hook

    known = [hook.value for hook in Hook]
    for word in words:
        if word not in known:
            raise UsageError(unknown(word, known, what="hook of ours"))
    return [Hook(word) for word in dict.fromkeys(words)] or list(default)


def _usual(repository: Repository) -> Sequence[Hook]:
    from hmopt_hooks.scripts import SERVING, WORKING

    return SERVING if repository.is_bare else WORKING


# -- scripts --------------------------------------------------------------------------------------------------------


def _print(options: argparse.Namespace) -> ExitCode:
    from hmopt_hooks.scripts import installed_tool, script

    hooks = _named(options.hooks, ())
    if len(hooks) != 1:
        raise UsageError("hooks print: name one HOOK", next_step="such as: git hmopt hooks print pre-push")
    sys.stdout.write(script(hooks[0], installed_tool()).decode("utf-8", "surrogateescape"))
    return ExitCode.OK


def _install(options: argparse.Namespace) -> ExitCode:
    from hmopt_hooks.places import KEPT, asks_for_its_name, find, install
    from hmopt_hooks.scripts import installed_tool

    repository = Repository.open(Path())
    folder, tool = _folder(repository, force=options.force), installed_tool()
    for hook in _named(options.hooks, _usual(repository)):
        new = install(folder, hook, tool, force=options.force)
        kept = f"; what was there is kept as {hook}{KEPT} and runs first" if find(folder, hook, tool).kept else ""
        print(f"{hook}: {'installed' if new else 'is installed'}{kept}")
        if new and asks_for_its_name(folder, hook):
            _say(f"note: {hook} asks for its own name, which is {hook}{KEPT} now: try it")
    print(f"in {_shown(folder)}; undo: git hmopt hooks uninstall")
    return ExitCode.OK


def _uninstall(options: argparse.Namespace) -> ExitCode:
    from hmopt_hooks.places import find, uninstall
    from hmopt_hooks.scripts import Hook, installed_tool

    repository = Repository.open(Path())
    folder, tool = _folder(repository, force=options.force), installed_tool()
    for hook in _named(options.hooks, tuple(Hook)):
        before = find(folder, hook, tool)
        if uninstall(folder, hook, tool, force=options.force):
            print(f"{hook}: {'what was there before is back' if before.kept else 'removed'}")
        elif options.hooks:
            print(f"{hook}: none of ours is there")
    return ExitCode.OK


def _folder(repository: Repository, *, force: bool) -> Folder:
    from hmopt_hooks.places import folder_of

    folder = folder_of(repository)
    if folder.shared is not None and not force:
        raise UsageError(
            f"hooks are looked for in {_shown(folder)}, and {folder.shared}",
            next_step="where that is meant: --force",
        )
    return folder


def _shown(folder: Folder) -> str:
    from git_hmopt.report.wording import plain

    return f"'{plain(str(folder.path))}'"


# -- status ---------------------------------------------------------------------------------------------------------


def _status(options: argparse.Namespace) -> ExitCode:
    """Tell what is there; exit code 1: one of ours is there and would not do what it should."""
    from hmopt_hooks.places import find, folder_of
    from hmopt_hooks.receive import rules_of
    from hmopt_hooks.scripts import Hook, installed_tool

    repository = Repository.open(Path())
    folder, tool = folder_of(repository), installed_tool()
    found = [find(folder, hook, tool) for hook in _named(options.hooks, tuple(Hook))]
    problems = [text for one in found if (text := _problem(one))]
    try:
        rules = rules_of(repository)
        problems += [f"rule {rule.name} names no branch: it protects nothing" for rule in rules if not rule.branches]
        serving = any(one.hook.serves and one.origin and one.origin != "foreign" for one in found)
        problems += ["there are rules, and no pre-receive hook of ours"] if rules and not serving else []
    except HmoptError as error:
        rules = []
        problems.append(str(error))
    if options.json:
        listed = [
            {"hook": one.hook, "origin": one.origin or "none", "kept": one.kept, "runs": one.runs} for one in found
        ]
        told = {"v": 1, "folder": str(folder.path), "shared": folder.shared, "tool": tool, "hooks": listed}
        print(json.dumps({**told, "rules": [rule.name for rule in rules], "problems": problems}))
    else:
        print("\n".join(_lines(folder, found)))
        for rule in rules:
            branches, workloads = ", ".join(rule.branches), ", ".join(rule.workloads)
            print(_plain(f"rule {rule.name}: {rule.require} on {workloads} for {branches}"))
        for text in problems:
            print(f"git hmopt: warning: {_plain(text)}", file=sys.stderr)
    return ExitCode.NO if problems else ExitCode.OK


def _lines(folder: Folder, found: Sequence[Found]) -> list[str]:
    from hmopt_hooks.places import KEPT

    head = f"in {_shown(folder)}" + (f" ({folder.shared})" if folder.shared else "")
    rows = [
        f"{one.hook:<14} {one.origin or 'none'}"
        + (f"; {one.hook}{KEPT} is kept" if one.kept else "")
        + ("" if one.runs or one.origin is None else "; not executable, so git passes over it")
        for one in found
    ]
    return [head, *rows]


def _problem(one: Found) -> str | None:
    from hmopt_hooks.scripts import Origin

    if one.origin in (Origin.OLD, Origin.EDITED):
        return f"{one.hook} is {one.origin}; write it anew: git hmopt hooks install {one.hook}"
    if one.origin is Origin.OURS and not one.runs:
        return f"{one.hook} is ours and not executable; write it anew: git hmopt hooks install {one.hook}"
    if one.kept and one.origin in (None, Origin.FOREIGN):
        return f"{one.hook}: what was there before ours is kept, and ours is gone"
    return None


def _plain(text: str) -> str:
    from git_hmopt.report.wording import plain

    return plain(text)


# -- what the scripts call ------------------------------------------------------------------------------------------


def _run(words: Sequence[str]) -> ExitCode:
    from hmopt_hooks.scripts import Hook

    if not words:
        raise UsageError("hooks run: which HOOK?", next_step="git's hooks call this; see: git hmopt hooks install")
    (hook,) = _named(words[:1], ())
    runs: Mapping[Hook, Callable[[Sequence[str]], ExitCode]] = {
        Hook.PRE_PUSH: _pre_push,
        Hook.POST_REWRITE: _post_rewrite,
        Hook.POST_MERGE: _refresh,
        Hook.POST_CHECKOUT: _refresh,
        Hook.PRE_RECEIVE: _receive,
        Hook.UPDATE: _receive,
    }
    return runs[hook](words[1:])


def _say(text: str) -> None:
    print(f"git hmopt: {_plain(text)}", file=sys.stderr, flush=True)


def _pre_push(words: Sequence[str]) -> ExitCode:
    from git_hmopt.cli.settings import gathered
    from git_hmopt.store.incoming import of_hook
    from hmopt_hooks.pre_push import is_dry_run, offer, offered

    if len(words) != 2:
        raise UsageError("hooks run pre-push: git gives it a remote's name and its address")
    repository = of_hook(os.environ)
    one = offer(repository, words[0], words[1], sys.stdin.buffer.read())
    if one is not None:
        mode = str(gathered(repository.git.cwd, None)["hooks.pre_push"].value)
        offered(repository, one, mode, dry=is_dry_run(os.environ.get("HMOPT_HOOK_PARENT")), say=_say)
    return ExitCode.OK


def _post_rewrite(words: Sequence[str]) -> ExitCode:
    from git_hmopt.store.incoming import of_hook
    from hmopt_hooks.post_rewrite import read_pairs, reattach

    pairs = read_pairs(sys.stdin.buffer.read())
    for line in reattach(of_hook(os.environ), pairs):
        _say(line)
    return ExitCode.OK


def _refresh(words: Sequence[str]) -> ExitCode:
    from git_hmopt.store.incoming import of_hook
    from hmopt_hooks.refresh import background, refresh

    repository = Repository.open(Path())
    if repository.git_dir.resolve() == of_hook(os.environ).git_dir.resolve():
        # Else GIT_DIR names one that is elsewhere, and what is built around here is another repository's.
        background(repository)
        refresh(repository)
    return ExitCode.OK


def _receive(words: Sequence[str]) -> ExitCode:
    from git_hmopt.store.incoming import read_commands, receiving
    from hmopt_hooks.receive import judge, rules_of

    repository = receiving(os.environ)
    answer = judge(repository, rules_of(repository), read_commands(sys.stdin.buffer.read()))
    for line in answer.lines:
        print(line, file=sys.stderr)
    # The script looks for this word: a Python that cannot start answers with an exit code of its own.
    print("refuse" if answer.refused else "allow")
    return ExitCode.NO if answer.refused else ExitCode.OK
