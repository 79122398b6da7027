# SPDX-License-Identifier: Apache-2.0
"""Gitee in this process: it refuses what Gitee's own Swagger 2.0 description refuses, and answers what that describes.

The description is from 2022: it knows no check runs and no drafts. It says of required fields `required: true` within
the field, of the labels' body that it is an object where it is a list, and of a commit's parents that they are text;
these are read here as they are meant.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import jsonschema
import yaml

from hmopt_bot.forges.message import Request, Response
from tests.bot.forges.contracts import contract
from tests.bot.forges.deliveries import BASE, HEAD

Json = dict[str, Any]
_API = "/api/v5"
# Not in the description of 2022.
_BEYOND = re.compile(r"/repos/[^/]+/[^/]+/(check-runs(/\d+)?|commits/[0-9a-f]+/check-runs)")
_LABELS = re.compile(r"/repos/[^/]+/[^/]+/pulls/\d+/labels")


@functools.cache
def description() -> Json:
    """Return the description, its required fields said as JSON Schema says it."""
    found: Json = yaml.load(contract("gitee-swagger.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    _repair(found["definitions"])
    del found["definitions"]["RepoCommit"]["properties"]["parents"]
    return found


def _repair(node: Any) -> None:
    if isinstance(node, list):
        for one in node:
            _repair(one)
    elif isinstance(node, dict):
        properties = node.get("properties")
        if isinstance(properties, dict):
            fields = {name: one for name, one in properties.items() if isinstance(one, dict)}
            needed = [name for name, one in fields.items() if _needed(one)]
            if needed:
                node["required"] = needed
        for one in node.values():
            _repair(one)


def _needed(about: Json) -> bool:
    """Say whether a field is required, which it says of itself, or only in Chinese."""
    return about.pop("required", None) is True or str(about.get("description", "")).startswith(("必填", "必选"))


@dataclass
class FakeGitee:
    """A repository with one pull request; `admin` says whether the bot may create check runs."""

    admin: bool = True
    comments: list[Json] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        """Answer a request as Gitee would; AssertionError for one that its description does not allow."""
        self.requests.append(request)
        place = urlsplit(request.url)
        assert (place.scheme, place.netloc) == ("https", "gitee.com")
        assert place.path.startswith(_API)
        assert request.headers["authorization"] == "Bearer gitee-secret-token"
        assert "secret" not in request.url.lower()
        assert b"secret" not in request.body
        path, query = place.path.removeprefix(_API), dict(parse_qsl(place.query))
        body = json.loads(request.body) if request.body else None
        operation = None if _BEYOND.fullmatch(path) else _operation(request.method, path)
        if operation:
            _validate(operation, path, query, body)
        response = self._routed(request.method, unquote(path), query, body)
        if operation and response.status < 300 and response.body:
            described = operation["responses"].get(response.status) or operation["responses"][str(response.status)]
            if described.get("schema"):
                _conforms(json.loads(response.body), described["schema"])
        return response

    def _routed(self, method: str, path: str, query: dict[str, str], body: Any) -> Response:
        for wanted, pattern, handler in _ROUTES:
            found = re.fullmatch(pattern, path)
            if wanted == method and found:
                made: Response = getattr(self, handler)(query, body, *found.groups())
                return made
        return _answer(404, {"message": "Not Found Project"})

    def _pull(self, query: dict[str, str], body: Any, number: str) -> Response:
        return _answer(200, pull(int(number)))

    def _open(self, query: dict[str, str], body: Json) -> Response:
        return _answer(201, {**pull(8), "title": body["title"], "draft": body["draft"]})

    def _find(self, query: dict[str, str], body: Any) -> Response:
        return _answer(200, [pull(8)])

    def _files(self, query: dict[str, str], body: Any, number: str) -> Response:
        # Numbers as text: Gitee's own way.
        patch = {"old_path": "lib/old.c", "new_path": "lib/sort.c", "diff": "@@ -1 +1 @@", "renamed_file": True}
        one = {
            "sha": HEAD,
            "filename": "lib/sort.c",
            "status": "renamed",
            "additions": "3",
            "deletions": "1",
            "patch": patch,
        }
        return _answer(200, [one])

    def _list_comments(self, query: dict[str, str], body: Any, number: str) -> Response:
        page, size = int(query["page"]), int(query["per_page"])
        of_it = [one for one in self.comments if one.get("below", number) == number]
        return _answer(200, of_it[(page - 1) * size : page * size])

    def _create_comment(self, query: dict[str, str], body: Json, number: str) -> Response:
        made = {"id": len(self.comments) + 1, "body": body["body"], "user": {"login": "hmopt-bot"}, "created_at": "t"}
        self.comments.append(made)
        return _answer(201, made)

    def _read_comment(self, query: dict[str, str], body: Any, id: str) -> Response:
        found = next((one for one in self.comments if one["id"] == int(id)), None)
        return _answer(200, found) if found else _answer(404, {"message": "404 Not Found"})

    def _update_comment(self, query: dict[str, str], body: Json, id: str) -> Response:
        for one in self.comments:
            if one["id"] == int(id):
                one["body"] = body["body"]
        return self._read_comment(query, body, id)

    def _role(self, query: dict[str, str], body: Any, login: str) -> Response:
        found = self.roles.get(login)
        return _answer(200, {"login": login, "permission": found}) if found else _answer(404, {"message": "no member"})

    def _label(self, query: dict[str, str], body: list[str], number: str) -> Response:
        self.labels += [name for name in body if name not in self.labels]
        return _answer(201, {"name": self.labels[-1]})

    def _unlabel(self, query: dict[str, str], body: Any, number: str, label: str) -> Response:
        if label not in self.labels:
            return _answer(404, {"message": "Label Not Found"})
        self.labels.remove(label)
        return Response(204, {}, b"", 0.0)

    def _commit(self, query: dict[str, str], body: Any, sha: str) -> Response:
        return Response(
            200, {}, json.dumps({"sha": sha, "parents": [{"sha": BASE}], "commit": {"message": "m"}}).encode()
        )

    def _create_check(self, query: dict[str, str], body: Json) -> Response:
        if not self.admin:
            return _answer(403, {"message": "only repository administrators"})
        self.checks.append(body)
        return _answer(201, {**body, "id": len(self.checks)})

    def _update_check(self, query: dict[str, str], body: Json, id: str) -> Response:
        self.checks[int(id) - 1].update(body)
        return _answer(200, {**self.checks[int(id) - 1], "id": int(id)})

    def _list_checks(self, query: dict[str, str], body: Any, sha: str) -> Response:
        return _answer(
            200, {"total_count": 1, "check_runs": [{**one, "id": n} for n, one in enumerate(self.checks, 1)]}
        )


def pull(number: int) -> Json:
    """Return a pull request as Gitee describes it."""
    repo = {"full_name": "kernel/linux", "html_url": "https://gitee.com/kernel/linux.git"}
    fork = {"full_name": "ada/linux", "html_url": "https://gitee.com/ada/linux"}
    return {
        "number": number, "state": "open", "title": "lib/sort: faster", "user": {"login": "ada"},
        "labels": [{"name": "perf"}], "html_url": f"https://gitee.com/kernel/linux/pulls/{number}",
        "base": {"ref": "master", "sha": BASE, "repo": repo}, "head": {"ref": "sort", "sha": HEAD, "repo": fork},
    }  # fmt: skip


def _operation(method: str, path: str) -> Json:
    for template, methods in description()["paths"].items():
        pattern = re.sub(r"\{[^}]*\}", "[^/]+", template.removeprefix("/v5"))
        if re.fullmatch(pattern, path) and method.lower() in methods:
            found: Json = {**methods[method.lower()], "template": template}
            found["parameters"] = [*methods.get("parameters", []), *found.get("parameters", [])]
            return found
    raise AssertionError(f"Gitee describes no {method} {path}")


def _validate(operation: Json, path: str, query: dict[str, str], body: Any) -> None:
    known = {one["name"]: one for one in operation["parameters"] if one["in"] == "query"}
    assert set(query) <= set(known), set(query) - set(known)
    for name, value in query.items():
        about = known[name]
        assert about["type"] != "integer" or value.isdigit()
        assert value in about.get("enum", [value])
    wanted = next((one for one in operation["parameters"] if one["in"] == "body"), None)
    assert (body is not None) == (wanted is not None)
    if wanted:
        schema = wanted["schema"]
        if _LABELS.fullmatch(path):
            schema = description()["definitions"]["PullRequestLabelPostParam"]["properties"]["body"]
        _conforms(body, schema)


def _conforms(value: Any, schema: Json) -> None:
    jsonschema.Draft4Validator({**schema, "definitions": description()["definitions"]}).validate(value)


def _answer(status: int, value: Any) -> Response:
    return Response(status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode(), 1000.0)


_IN = r"/repos/kernel/linux"
_ROUTES = (
    ("GET", rf"{_IN}/pulls/(\d+)", "_pull"),
    ("GET", rf"{_IN}/pulls", "_find"),
    ("POST", rf"{_IN}/pulls", "_open"),
    ("GET", rf"{_IN}/pulls/(\d+)/files", "_files"),
    ("GET", rf"{_IN}/pulls/(\d+)/comments", "_list_comments"),
    ("POST", rf"{_IN}/pulls/(\d+)/comments", "_create_comment"),
    ("GET", rf"{_IN}/pulls/comments/(\d+)", "_read_comment"),
    ("PATCH", rf"{_IN}/pulls/comments/(\d+)", "_update_comment"),
    ("GET", rf"{_IN}/collaborators/([^/]+)/permission", "_role"),
    ("POST", rf"{_IN}/pulls/(\d+)/labels", "_label"),
    ("DELETE", rf"{_IN}/pulls/(\d+)/labels/(.+)", "_unlabel"),
    ("GET", rf"{_IN}/commits/([0-9a-f]+)", "_commit"),
    ("GET", rf"{_IN}/commits/([0-9a-f]+)/check-runs", "_list_checks"),
    ("POST", rf"{_IN}/check-runs", "_create_check"),
    ("PATCH", rf"{_IN}/check-runs/(\d+)", "_update_check"),
)
