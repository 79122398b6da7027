# SPDX-License-Identifier: Apache-2.0
"""`git hmopt hooks install|uninstall|status|print`: nothing of somebody else's is lost, whatever is in the way.

Cases by the numbers in `hmopt_hooks.places`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hmopt_hooks.scripts import SERVING, WORKING, Hook
from tests.hooks.site import Site, hook_calling, written
from tests.loop.project import Project

FOREIGN = b"#!/bin/sh\r\n# not ours \xff\nexit 0\n"
THEIRS = '#!/bin/sh\necho theirs >> "${0%/*}/../seen"\n'
WITHOUT_ROOTS_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def hmopt(site: Site, *words: str, cwd: Path | None = None, code: int = 0) -> str:
    """Run `git hmopt hooks`, demand an exit code, and return all that it said."""
    done = site.project.hmopt("hooks", *words, cwd=cwd)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def status(site: Site, *, cwd: Path | None = None) -> dict[str, Any]:
    """Return what status says."""
    told: dict[str, Any] = json.loads(site.project.hmopt("hooks", "status", "--json", cwd=cwd).stdout)
    return told


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return all that is in a directory, with modes."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.name: (path.lstat().st_mode, str(path.readlink()).encode() if path.is_symlink() else path.read_bytes())
        for path in paths
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["instal"], "invalid choice: 'instal'"),
        (["install", "pre-puch"], "expected 'pre-push'?"),
        (["install", "../pre-push"], "hook of ours"),
        (["print"], "name one HOOK"),
        (["print", "pre-push", "update"], "name one HOOK"),
        (["install", "--json"], "--json is only for status"),
        (["run"], "which HOOK?"),
        (["run", "pre-commit"], "hook of ours"),
        (["run", "pre-push"], "git gives it a remote's name"),
        ([], "required"),
    ],
)
def test_a_wrong_command_line_is_one_line(site: Site, words: list[str], said: str) -> None:
    done = site.project.hmopt("hooks", *words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (129, "", 1)
    assert said in done.stderr
    assert not list((site.project.root / ".git/hooks").glob("*.hmopt*"))


def test_outside_a_repository_it_says_so(site: Site) -> None:
    place = site.server.parent
    for action in ("install", "uninstall", "status"):
        assert "is not in a git repository" in hmopt(site, action, cwd=place, code=128)
    assert hmopt(site, "print", "pre-push", cwd=place).startswith("#!/bin/sh\n")


def test_1_install_twice_then_uninstall_leaves_what_was(site: Site) -> None:
    folder = site.project.root / ".git/hooks"
    before = snapshot(folder)
    said = hmopt(site, "install")
    assert [f"{hook}: installed" in said for hook in WORKING] == [True] * len(WORKING)
    first = snapshot(folder)
    assert set(first) - set(before) == set(WORKING)
    assert first["pre-push"] == (0o100755, hmopt(site, "print", "pre-push").encode())
    assert "pre-push: is installed" in hmopt(site, "install")
    assert snapshot(folder) == first
    assert status(site)["problems"] == []
    hmopt(site, "uninstall")
    assert snapshot(folder) == before
    assert hmopt(site, "uninstall") == ""
    assert hmopt(site, "uninstall", "pre-push") == "pre-push: none of ours is there\n"


def test_1_a_bare_repository_gets_what_serves(site: Site) -> None:
    """Its directory of hooks was never made."""
    hmopt(site, "install", cwd=site.server)
    assert set(snapshot(site.server / "hooks")) == set(SERVING)
    hmopt(site, "install", "update", cwd=site.server)
    assert set(snapshot(site.server / "hooks")) == {*SERVING, Hook.UPDATE}


def test_2_a_script_of_another_place_is_written_anew(site: Site) -> None:
    folder = site.project.root / ".git/hooks"
    hook_calling(folder, Hook.PRE_PUSH, "/old/git-hmopt")
    assert "pre-push       ours, of another version or place" in hmopt(site, "status", code=1)
    hmopt(site, "install", "pre-push")
    assert hmopt(site, "status").count("ours") == 1
    (folder / "pre-push").chmod(0o644)
    assert "ours; not executable, so git passes over it" in hmopt(site, "status", code=1)
    hmopt(site, "install", "pre-push")
    assert (folder / "pre-push").stat().st_mode & 0o111


@pytest.mark.parametrize("mode", [0o755, 0o644, 0o500])
def test_3_a_foreign_hook_is_kept_and_comes_back(site: Site, mode: int) -> None:
    folder = site.project.root / ".git/hooks"
    for hook in WORKING:
        written(folder / hook, FOREIGN, mode=mode)
    before = snapshot(folder)
    assert "what was there is kept as pre-push.hmopt-kept and runs first" in hmopt(site, "install")
    assert snapshot(folder)["pre-push.hmopt-kept"] == before["pre-push"]
    hmopt(site, "install")
    assert "what was there before is back" in hmopt(site, "uninstall")
    assert snapshot(folder) == before


def test_3_a_link_is_kept_as_a_link(site: Site) -> None:
    folder = site.project.root / ".git/hooks"
    program = written(site.server.parent / "their program", THEIRS)
    (folder / "pre-push").symlink_to(program)
    (folder / "post-merge").symlink_to("nowhere")
    before = snapshot(folder)
    hmopt(site, "install")
    site.change()
    assert site.push("main").returncode == 0
    assert (folder.parent / "seen").read_text() == "theirs\n"
    hmopt(site, "uninstall")
    assert snapshot(folder) == before
    assert program.read_text() == THEIRS


def test_3_one_that_asks_for_its_own_name_is_told(site: Site) -> None:
    written(site.project.root / ".git/hooks/pre-push", '#!/bin/sh\nexec manager "$(basename "$0")" "$@"\n')
    assert "pre-push asks for its own name, which is pre-push.hmopt-kept now: try it" in hmopt(site, "install")


def test_4_what_somebody_edited_is_left(site: Site) -> None:
    hook = site.project.root / ".git/hooks/pre-push"
    hmopt(site, "install")
    hook.write_bytes(hook.read_bytes() + b"echo mine\n")
    edited = hook.read_bytes()
    for action in ("install", "uninstall"):
        assert "somebody edited it; look at it, then force it: --force" in hmopt(site, action, "pre-push", code=129)
        assert hook.read_bytes() == edited
    assert "pre-push       ours, edited" in hmopt(site, "status", code=1)
    hmopt(site, "install", "--force")
    assert hook.read_bytes() != edited
    hook.write_bytes(edited)
    hmopt(site, "uninstall", "--force")
    assert not hook.exists()


def test_5_another_tool_wrote_over_ours(site: Site) -> None:
    folder = site.project.root / ".git/hooks"
    written(folder / "pre-push", FOREIGN)
    hmopt(site, "install")
    written(folder / "pre-push", b"#!/bin/sh\n# a third one\n")
    before = snapshot(folder)
    assert "join the two, or move one away" in hmopt(site, "install", "pre-push", code=129)
    assert hmopt(site, "uninstall", "pre-push") == "pre-push: none of ours is there\n"
    assert snapshot(folder) == before
    assert "what was there before ours is kept, and ours is gone" in hmopt(site, "status", code=1)
    (folder / "pre-push").unlink()
    hmopt(site, "uninstall", "pre-push")
    assert (folder / "pre-push").read_bytes() == FOREIGN


def test_hooks_of_every_repository_are_left_unless_forced(site: Site, tmp_path: Path) -> None:
    everywhere = tmp_path / "everywhere"
    written(everywhere / "pre-push", FOREIGN)
    site.project.git("config", "--global", "core.hooksPath", str(everywhere))
    before = snapshot(everywhere)
    for action in ("install", "uninstall"):
        assert "core.hooksPath (global) has it for every repository" in hmopt(site, action, code=129)
    assert (snapshot(everywhere), status(site)["shared"] is None) == (before, False)
    hmopt(site, "install", "--force")
    assert (everywhere / "pre-push.hmopt-kept").read_bytes() == FOREIGN
    hmopt(site, "uninstall", "--force")
    assert snapshot(everywhere) == before


def test_hooks_in_the_working_tree_are_left_unless_forced(site: Site) -> None:
    site.project.git("config", "core.hooksPath", "tools/hooks")
    assert "where others get it with a commit" in hmopt(site, "install", code=129)
    hmopt(site, "install", "--force")
    assert site.project.git("status", "--porcelain") == "?? tools/"


def test_a_hooks_path_of_this_repository_is_taken(site: Site, tmp_path: Path) -> None:
    site.project.git("config", "core.hooksPath", str(tmp_path / "our hooks"))
    hmopt(site, "install", "pre-push")
    assert set(snapshot(tmp_path / "our hooks")) == {"pre-push"}


def test_linked_worktrees_share_the_hooks(site: Site, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    site.project.git("worktree", "add", "-q", str(linked))
    hmopt(site, "install", cwd=linked)
    assert (site.project.root / ".git/hooks/pre-push").is_file()
    assert status(site, cwd=linked)["problems"] == []
    (linked / "sub").mkdir()
    assert status(site, cwd=linked / "sub")["folder"] == status(site)["folder"]


def test_it_is_this_repository_whatever_variables_say(site: Site, tmp_path: Path) -> None:
    done = site.project.hmopt("hooks", "install", environment={"GIT_DIR": str(tmp_path), "GIT_WORK_TREE": "/"})
    assert done.returncode == 0, done.stderr
    assert (site.project.root / ".git/hooks/pre-push").is_file()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_a_directory_that_nobody_may_write_is_one_line(site: Site) -> None:
    folder = site.project.root / ".git/hooks"
    hmopt(site, "install", "update")
    written(folder / "pre-push", FOREIGN)
    before = snapshot(folder)
    folder.chmod(0o555)
    try:
        for words in (["install"], ["install", "post-merge"], ["uninstall"]):
            done = site.run(*WITHOUT_ROOTS_RIGHTS, "git", "hmopt", "hooks", *words)
            assert (done.returncode, len(done.stderr.splitlines())) == (128, 1), done.stderr
            assert "cannot be written: Permission denied; make its directory writable" in done.stderr
    finally:
        folder.chmod(0o755)
    assert snapshot(folder) == before


def test_a_file_where_the_directory_goes_is_one_line(site: Site, tmp_path: Path) -> None:
    site.project.git("config", "core.hooksPath", str(written(tmp_path / "file", "")))
    assert "cannot be written: " in hmopt(site, "install", code=128)
    assert "pre-push       none" in hmopt(site, "status")


def test_a_rule_that_is_wrong_is_told_by_status(site: Site) -> None:
    def said() -> str:
        return site.project.hmopt("hooks", "status", cwd=site.server).stderr

    site.at_server("config", "hmopt.rule.speed.branches", "main")
    assert "hmopt.rule.speed.branches is no key of a rule; they are: branch, workloads, require, path" in said()
    site.at_server("config", "--unset", "hmopt.rule.speed.branches")
    site.at_server("config", "hmopt.rule.speed.require", "magic")
    assert "hmopt.rule.speed.workloads names no workload" in said()
    site.at_server("config", "hmopt.rule.speed.workloads", "scan")
    assert "hmopt.rule.speed.require is 'magic'; it can be: no-regression, verdict" in said()
    site.at_server("config", "hmopt.rule.speed.require", "verdict")
    assert "rule speed names no branch: it protects nothing" in said()
    assert "there are rules, and no pre-receive hook of ours" in said()
    site.at_server("config", "hmopt.rule.speed.branch", "main")
    hmopt(site, "install", cwd=site.server)
    assert "rule speed: verdict on scan for refs/heads/main" in hmopt(site, "status", cwd=site.server)
    assert "rule" not in site.project.hmopt("config", cwd=site.server).stderr, "they are ours, not misspelt settings"


def test_what_is_printed_is_what_a_person_may_install(site: Site) -> None:
    text = hmopt(site, "print", "pre-receive")
    assert subprocess.run(["dash", "-n"], input=text.encode(), check=False).returncode == 0
    assert str(Path(site.project.environment["PATH"].split(":")[0]) / "git-hmopt") in text


def test_another_tools_wrapper_may_rename_ours(site: Site) -> None:
    """As pre-commit does: ours becomes pre-push.legacy, and still finds what it kept."""
    folder = site.project.root / ".git/hooks"
    written(folder / "pre-push", THEIRS)
    hmopt(site, "install")
    (folder / "pre-push").rename(folder / "pre-push.legacy")
    written(folder / "pre-push", '#!/bin/sh\nexec "$0.legacy" "$@"\n')
    assert site.push("main").returncode == 0
    assert (folder.parent / "seen").read_text() == "theirs\n"


def test_a_project_elsewhere_is_not_touched(site: Site) -> None:
    other = Project(site.server.parent / "other", site.project.home)
    other.root.mkdir()
    other.git("init", "-q")
    before = snapshot(other.root / ".git/hooks")
    hmopt(site, "install")
    assert snapshot(other.root / ".git/hooks") == before
