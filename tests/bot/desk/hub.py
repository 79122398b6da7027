# SPDX-License-Identifier: Apache-2.0
"""A forge on loopback that speaks GitHub's API and serves git: one repository, its pull requests, and who may what.

It keeps what it is told and refuses what GitHub's own description refuses, where that lies beside this checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.bot.forges.contracts import CONTRACTS
from tests.bot.forges.fake_github import DESCRIPTION, GITHUB, description_of, refusal
from tests.store.repositories import Shell
from tests.store.servers import http_server, wsgi_server

Json = dict[str, Any]
REPOSITORY, LOGIN, TOKEN, SECRET = "kernel/linux", "hmopt-bot", "the-token-of-the-bot", "a-secret-of-the-webhooks-own"
MAINTAINER, STRANGER = "maintainer", "stranger"
Fault = Callable[[str, str], tuple[int, dict[str, str], bytes] | None]


def _stamp(at: float | None = None) -> str:
    return datetime.fromtimestamp(time.time() if at is None else at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Hub:
    """The forge; all of it may be looked at and changed by a test, under `lock` while it serves."""

    git: Shell
    """The bare repository that it serves."""
    url: str = ""
    remote: str = ""
    pulls: dict[int, Json] = field(default_factory=dict)
    comments: list[Json] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    statuses: list[Json] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=lambda: {MAINTAINER: "write", LOGIN: "write"})
    requests: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    is_app: bool = True
    """Whether the bot may create check runs."""
    fault: Fault | None = None
    """Answers in the forge's place when it returns something."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _description: Any = field(default_factory=lambda: description_of() if (CONTRACTS / DESCRIPTION).exists() else None)

    # -- what people do -----------------------------------------------------------------------------------------------

    def open(self, number: int, commit: str, *, branch: str = "feature", fork: bool = False, **more: Any) -> None:
        """Open a pull request."""
        self.git.git("update-ref", f"refs/pull/{number}/head", commit)
        owner = "ada/linux" if fork else REPOSITORY
        if not fork:
            self.git.git("update-ref", f"refs/heads/{branch}", commit)
        main = self.git.git("rev-parse", "main")
        self.pulls[number] = {
            "number": number, "title": "lib: faster", "state": "open", "draft": False, "user": {"login": "ada"},
            "labels": [], "html_url": f"https://forge.example/{REPOSITORY}/pull/{number}", "merged_at": None,
            "base": _side("main", main, REPOSITORY), "head": _side(branch, commit, owner), **more,
        }  # fmt: skip

    def push(self, number: int, commit: str) -> None:
        """Push to a pull request, by force if need be."""
        with self.lock:
            self.git.git("update-ref", f"refs/pull/{number}/head", commit)
            self.pulls[number]["head"]["sha"] = commit

    def comment(self, number: int, body: str, *, by: str = MAINTAINER, at: float | None = None) -> Json:
        """Comment on a pull request."""
        with self.lock:
            stamp = _stamp(at)
            made = {
                "id": len(self.comments) + 1, "user": {"login": by}, "body": body, "number": number,
                "created_at": stamp, "updated_at": stamp,
            }  # fmt: skip
            self.comments.append(made)
            return made

    def below(self, number: int, *, by: str = LOGIN) -> list[str]:
        """Return the bodies of somebody's comments below a pull request, the oldest first."""
        with self.lock:
            return [one["body"] for one in self.comments if one["number"] == number and one["user"]["login"] == by]

    # -- deliveries ---------------------------------------------------------------------------------------------------

    def delivery(self, event: str, body: Json, *, id: str | None = None) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body of a delivery."""
        data = json.dumps({**body, "repository": {"full_name": REPOSITORY}}).encode()
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": id or str(uuid.uuid4()),
            "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), data, hashlib.sha256).hexdigest(),
        }, data

    def pull_event(self, number: int, action: str = "opened", **more: Any) -> tuple[str, Json]:
        """Return what is sent when something was done to a pull request."""
        pull = self.pulls[number]
        return "pull_request", {
            "action": action, "number": number, "pull_request": pull, "sender": {"login": "ada"}, **more
        }  # fmt: skip

    def comment_event(self, comment: Json, action: str = "created") -> tuple[str, Json]:
        """Return what is sent when somebody commented."""
        return "issue_comment", {
            "action": action,
            "issue": {"number": comment["number"], "pull_request": {"url": "https://forge.example/pull"}},
            "comment": {key: value for key, value in comment.items() if key != "number"},
            "sender": comment["user"],
        }

    def review_event(self, number: int, body: str | None, *, by: str, action: str = "submitted") -> tuple[str, Json]:
        """Return what is sent when somebody reviewed, with what they said on the whole."""
        review = {"id": 900 + len(self.comments), "body": body, "user": {"login": by}, "submitted_at": _stamp()}
        pull = {"number": number}
        return "pull_request_review", {
            "action": action,
            "review": review,
            "pull_request": pull,
            "sender": review["user"],
        }

    def line_event(self, number: int, body: str, *, by: str) -> tuple[str, Json]:
        """Return what is sent when somebody commented on a line of the diff."""
        comment = {"id": 800 + len(self.comments), "body": body, "user": {"login": by}, "created_at": _stamp(),
                   "path": "lib/scan.c", "line": 7}  # fmt: skip
        pull = {"number": number}
        return "pull_request_review_comment", {
            "action": "created", "comment": comment, "pull_request": pull, "sender": comment["user"]
        }  # fmt: skip

    # -- the API ------------------------------------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, headers, body = self._answered(method, path, query, data, environ)
        start_response(f"{status} -", [("Content-Type", "application/json; charset=utf-8"), *headers.items()])
        return [body]

    def _answered(
        self, method: str, path: str, query: dict[str, str], data: bytes, environ: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        with self.lock:
            self.requests.append((method, path))
            if environ.get("HTTP_AUTHORIZATION", "").split(" ")[-1] != TOKEN:
                return _json(401, {"message": "Bad credentials"})
            fault = self.fault(method, path) if self.fault else None
            if fault is not None:
                return fault
            if self._description is not None:
                headers = {"authorization": "token x", "content-type": environ.get("CONTENT_TYPE", "")}
                why = refusal(self._description, method, GITHUB + path, query, headers, data)
                if why:
                    self.refused.append(f"{method} {path}: {why}")
                    return _json(422, {"message": "Validation Failed", "errors": [why]})
            body = json.loads(data) if data else {}
            for wanted, pattern, handler in _ROUTES:
                found = re.fullmatch(pattern, unquote(path))
                if wanted == method and found:
                    answer: tuple[int, dict[str, str], bytes] = getattr(self, handler)(query, body, *found.groups())
                    return answer
            return _json(404, {"message": "Not Found"})

    def _pull(self, query: Json, body: Json, number: str) -> Any:
        found = self.pulls.get(int(number))
        return _json(200, found) if found else _json(404, {"message": "Not Found"})

    def _find(self, query: Json, body: Json) -> Any:
        found = [
            one for one in self.pulls.values()
            if one["state"] == query["state"] and one["base"]["ref"] == query["base"]
            and query["head"] == f"{one['head']['repo']['full_name'].split('/')[0]}:{one['head']['ref']}"
        ]  # fmt: skip
        return _json(200, found)

    def _open(self, query: Json, body: Json) -> Any:
        commit = self.git.git("rev-parse", "--verify", f"refs/heads/{body['head']}", check=False)
        if not commit:
            return _json(422, {"message": "Validation Failed", "errors": ["head is invalid"]})
        number = max(self.pulls) + 1000
        self.open(number, commit, branch=body["head"], title=body["title"], draft=body["draft"])
        self.pulls[number]["base"] = _side(body["base"], self.git.git("rev-parse", body["base"]), REPOSITORY)
        self.pulls[number]["body"] = body["body"]
        return _json(201, self.pulls[number])

    def _files(self, query: Json, body: Json, number: str) -> Any:
        pull = self.pulls[int(number)]
        listed = self.git.git("diff", "--name-only", f"{pull['base']['sha']}...{pull['head']['sha']}").split()
        return _json(200, [{"filename": path, "status": "modified", "additions": 1, "deletions": 1} for path in listed])

    def _list_comments(self, query: Json, body: Json, number: str) -> Any:
        of_it = [one for one in self.comments if one["number"] == int(number) and not one.get("deleted")]
        page, size = int(query.get("page", "1")), int(query["per_page"])
        headers = {}
        if page * size < len(of_it):
            url = f"{self.url}/repos/{REPOSITORY}/issues/{number}/comments?per_page={size}&page={page + 1}"
            headers["Link"] = f'<{url}>; rel="next"'
        status, made, data = _json(200, of_it[(page - 1) * size : page * size])
        return status, {**made, **headers}, data

    def _create_comment(self, query: Json, body: Json, number: str) -> Any:
        return _json(201, self.comment(int(number), body["body"], by=LOGIN))

    def _one(self, id: str) -> Json | None:
        return next((one for one in self.comments if one["id"] == int(id) and not one.get("deleted")), None)

    def _read_comment(self, query: Json, body: Json, id: str) -> Any:
        found = self._one(id)
        return _json(200, found) if found else _json(404, {"message": "Not Found"})

    def _update_comment(self, query: Json, body: Json, id: str) -> Any:
        found = self._one(id)
        if not found:
            return _json(404, {"message": "Not Found"})
        found["body"] = body["body"]
        return _json(200, found)

    def _role(self, query: Json, body: Json, login: str) -> Any:
        role = self.roles.get(login)
        return _json(200, {"permission": role, "role_name": role}) if role else _json(404, {"message": "Not Found"})

    def _list_checks(self, query: Json, body: Json, sha: str) -> Any:
        found = [one for one in self.checks if one["head_sha"] == sha and one["name"] == query["check_name"]]
        return _json(200, {"total_count": len(found), "check_runs": found})

    def _create_check(self, query: Json, body: Json) -> Any:
        if not self.is_app:
            return _json(403, {"message": "You must authenticate via a GitHub App."})
        made = {**body, "id": len(self.checks) + 1, "annotations": list(body["output"].get("annotations", []))}
        self.checks.append(made)
        return _json(201, made)

    def _update_check(self, query: Json, body: Json, id: str) -> Any:
        mine = self.checks[int(id) - 1]
        mine["annotations"] += body["output"].get("annotations", [])
        mine.update(body)
        return _json(200, mine)

    def _status(self, query: Json, body: Json, sha: str) -> Any:
        self.statuses.append({**body, "sha": sha})
        return _json(201, {"id": len(self.statuses)})


def _json(status: int, value: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {}, json.dumps(value).encode()


def _side(ref: str, sha: str, repository: str) -> Json:
    return {
        "ref": ref,
        "sha": sha,
        "repo": {"full_name": repository, "clone_url": f"https://forge.example/{repository}"},
    }


_IN = rf"/repos/{REPOSITORY}"
_ROUTES = (
    ("GET", rf"{_IN}/pulls/(\d+)", "_pull"),
    ("GET", rf"{_IN}/pulls", "_find"),
    ("POST", rf"{_IN}/pulls", "_open"),
    ("GET", rf"{_IN}/pulls/(\d+)/files", "_files"),
    ("GET", rf"{_IN}/issues/(\d+)/comments", "_list_comments"),
    ("POST", rf"{_IN}/issues/(\d+)/comments", "_create_comment"),
    ("GET", rf"{_IN}/issues/comments/(\d+)", "_read_comment"),
    ("PATCH", rf"{_IN}/issues/comments/(\d+)", "_update_comment"),
    ("GET", rf"{_IN}/collaborators/([^/]+)/permission", "_role"),
    ("GET", rf"{_IN}/commits/([0-9a-f]+)/check-runs", "_list_checks"),
    ("POST", rf"{_IN}/check-runs", "_create_check"),
    ("PATCH", rf"{_IN}/check-runs/(\d+)", "_update_check"),
    ("POST", rf"{_IN}/statuses/([0-9a-f]+)", "_status"),
)


@contextlib.contextmanager
def hub_of(root: Path, git: Shell) -> Iterator[Hub]:
    """Serve a forge whose bare repository is `git`, below `root`."""
    hub = Hub(git)
    with wsgi_server(hub) as url, http_server(root, ("x-access-token", TOKEN)) as remote:
        hub.url, hub.remote = url, f"{remote}/{git.cwd.relative_to(root)}"
        yield hub


def forges_file(directory: Path, hub: Hub, more: str = "") -> Path:
    """Write the file that registers its webhook; `more` are further lines of its table."""
    path = directory / "forges.toml"
    path.write_text(
        f'[github]\nforge = "github"\nrepository = "{REPOSITORY}"\nsecrets = ["{SECRET}"]\nlogin = "{LOGIN}"\n'
        f'token = "{TOKEN}"\napi = "{hub.url}"\nremote = "{hub.remote}"\n{more}'
    )
    path.chmod(0o600)
    return path
