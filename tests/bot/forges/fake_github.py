# SPDX-License-Identifier: Apache-2.0
"""GitHub in this process: it refuses what GitHub's own OpenAPI description refuses, and answers what that describes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from hmopt_bot.forges.limits import BODY
from hmopt_bot.forges.message import Request, Response
from tests.bot.forges.contracts import contract
from tests.bot.forges.deliveries import BASE, HEAD

Json = dict[str, Any]
JSON = {"content-type": "application/json; charset=utf-8"}
# Routes of the bot that the subset of the description beside this checkout does not hold: answered, not validated.
_BEYOND = re.compile(
    r"/repos/[^/]+/[^/]+/(issues/comments/\d+/reactions|collaborators/[^/]+/permission"
    r"|commits/[0-9a-f]+(/check-runs)?|issues/\d+/labels/[^/]+)"
)


GITHUB = "https://api.github.com"
DESCRIPTION = "github-openapi-subset.json"


def description() -> Json:
    """Return the part of GitHub's OpenAPI description that lies beside this checkout."""
    found: Json = json.loads(contract(DESCRIPTION).read_text(encoding="utf-8"))
    # A running check's conclusion is null, which the description allows in words only (nullable, not in the enum).
    found["components"]["schemas"]["check-run"]["properties"]["conclusion"]["enum"].append(None)
    return found


def description_of() -> OpenAPI:
    """Return the same, ready to judge requests."""
    return OpenAPI.from_dict(description())


def refusal(
    api: OpenAPI, method: str, url: str, args: dict[str, str], headers: Mapping[str, str], body: bytes
) -> str | None:
    """Return why GitHub would refuse a request; None when it would not."""
    if not _BEYOND.fullmatch(urlsplit(url).path):
        try:
            api.validate_request(_mocked(method, url, args, headers, body))
        except OpenAPIError as error:
            return f"{error}: {error.__cause__}"
    said = json.loads(body) if body else {}
    return "body is too long" if len(said.get("body") or "") > BODY.most else None


def _mocked(method: str, url: str, args: dict[str, str], headers: Mapping[str, str], body: bytes) -> MockRequest:
    path = urlsplit(url).path
    return MockRequest(GITHUB, method.lower(), path, args=args, headers=dict(headers), data=body or None)


@dataclass
class FakeGitHub:
    """A repository with one pull request; what is posted is kept and answered. `refused` says what was not valid."""

    comments: list[Json] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    roles: dict[str, Json] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    per_page: int = 100

    def __post_init__(self) -> None:
        self._description = description()
        self._api = OpenAPI.from_dict(self._description)

    def __call__(self, request: Request) -> Response:
        """Answer a request as GitHub would."""
        self.requests.append(request)
        place = urlsplit(request.url)
        assert f"{place.scheme}://{place.netloc}" == GITHUB
        if not request.headers.get("authorization"):
            return self._answer(401, {"message": "Requires authentication"})
        args = dict(parse_qsl(place.query))
        beyond = _BEYOND.fullmatch(place.path)
        why = refusal(self._api, request.method, GITHUB + place.path, args, request.headers, request.body)
        if why:
            self.refused.append(why)
            return self._answer(422, {"message": "Validation Failed", "errors": [why]})
        body = json.loads(request.body) if request.body else {}
        response = self._routed(request.method, unquote(place.path), dict(parse_qsl(place.query)), body)
        if not beyond and response.status < 300 and response.status != 204:
            asked = _mocked(request.method, GITHUB + place.path, args, request.headers, request.body)
            answered = MockResponse(response.body, response.status, dict(response.headers), "application/json")
            self._api.validate_response(asked, answered)
        return response

    def example(self, name: str) -> Any:
        """Return one of the description's examples."""
        return copy.deepcopy(self._description["components"]["examples"][name]["value"])

    def _routed(self, method: str, path: str, query: dict[str, str], body: Json) -> Response:
        for wanted, pattern, handler in _ROUTES:
            found = re.fullmatch(pattern, path)
            if wanted == method and found:
                made: Response = getattr(self, handler)(query, body, *found.groups())
                return made
        return self._answer(404, {"message": "Not Found"})

    def _answer(self, status: int, value: Any, **headers: str) -> Response:
        return Response(status, {**JSON, **headers}, b"" if value is None else json.dumps(value).encode(), at=1000.0)

    def _pull(self, query: dict[str, str], body: Json, number: str) -> Response:
        return self._answer(200, self._pull_value(int(number), body)) if int(number) < 1000 else self._gone()

    def _pull_value(self, number: int, body: Json) -> Json:
        made: Json = self.example("pull-request")
        made.update(number=number, title=body.get("title", made["title"]), draft=body.get("draft", False))
        made["head"]["sha"], made["base"]["sha"], made["merged_at"] = HEAD, BASE, None
        # The description's own example lacks what it requires.
        made["requested_teams"] = []
        return made

    def _open(self, query: dict[str, str], body: Json) -> Response:
        return self._answer(201, self._pull_value(8, body))

    def _find(self, query: dict[str, str], body: Json) -> Response:
        found = self.example("pull-request-simple-items")
        for one in found:
            one["head"]["sha"], one["base"]["sha"], one["merged_at"], one["requested_teams"] = HEAD, BASE, None, []
        return self._answer(200, found)

    def _files(self, query: dict[str, str], body: Json, number: str) -> Response:
        return self._answer(200, self.example("diff-entry-items"))

    def _list_comments(self, query: dict[str, str], body: Json, number: str) -> Response:
        page, size = int(query.get("page", "1")), min(int(query["per_page"]), self.per_page)
        shown = self.comments[(page - 1) * size : page * size]
        more = page * size < len(self.comments)
        url = f"https://api.github.com/repos/kernel/linux/issues/{number}/comments?per_page={size}&page="
        link = f'<{url}{page + 1}>; rel="next", <{url}9>; rel="last"' if more else ""
        return self._answer(200, shown, **({"Link": link} if link else {}))

    def _create_comment(self, query: dict[str, str], body: Json, number: str) -> Response:
        made: Json = {**self.example("issue-comment"), "id": len(self.comments) + 1, "body": body["body"]}
        self.comments.append(made)
        return self._answer(201, made)

    def _comment(self, id: str) -> Json | None:
        return next((one for one in self.comments if one["id"] == int(id)), None)

    def _read_comment(self, query: dict[str, str], body: Json, id: str) -> Response:
        found = self._comment(id)
        return self._answer(200, found) if found else self._gone()

    def _update_comment(self, query: dict[str, str], body: Json, id: str) -> Response:
        found = self._comment(id)
        if not found:
            return self._gone()
        found["body"] = body["body"]
        return self._answer(200, found)

    def _gone(self) -> Response:
        return self._answer(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})

    def _react(self, query: dict[str, str], body: Json, id: str) -> Response:
        assert body["content"] in {"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}
        return self._answer(201, {"id": 1, "content": body["content"]})

    def _role(self, query: dict[str, str], body: Json, login: str) -> Response:
        found = self.roles.get(login)
        return self._answer(200, found) if found else self._gone()

    def _label(self, query: dict[str, str], body: Json, number: str) -> Response:
        self.labels += body["labels"]
        return self._answer(200, [{**self.example("label-items")[0], "name": name} for name in self.labels])

    def _unlabel(self, query: dict[str, str], body: Json, number: str, label: str) -> Response:
        if label not in self.labels:
            return self._answer(404, {"message": "Label does not exist"})
        self.labels.remove(label)
        return self._answer(200, [])

    def _commit(self, query: dict[str, str], body: Json, sha: str) -> Response:
        return self._answer(200, {"sha": sha, "parents": [{"sha": BASE}], "commit": {"message": "lib/sort: faster"}})

    def _check_value(self, id: int) -> Json:
        made: Json = self.example("check-run-example-of-completed-conclusion")
        mine = self.checks[id - 1]
        made.update(id=id, head_sha=mine["head_sha"], external_id=mine["external_id"])
        made["conclusion"] = mine.get("conclusion")
        return made

    def _create_check(self, query: dict[str, str], body: Json) -> Response:
        self.checks.append({**body, "annotations": list(body["output"].get("annotations", []))})
        return self._answer(201, self._check_value(len(self.checks)))

    def _update_check(self, query: dict[str, str], body: Json, id: str) -> Response:
        mine = self.checks[int(id) - 1]
        mine["annotations"] += body["output"].get("annotations", [])
        mine.update({name: value for name, value in body.items() if name != "annotations"})
        return self._answer(200, self._check_value(int(id)))

    def _list_checks(self, query: dict[str, str], body: Json, sha: str) -> Response:
        found = [self._check_value(n) for n, one in enumerate(self.checks, 1) if one["name"] == query["check_name"]]
        return self._answer(200, {"total_count": len(found), "check_runs": found})

    def _status(self, query: dict[str, str], body: Json, sha: str) -> Response:
        assert len(body["description"]) <= 140
        return self._answer(201, self.example("status"))

    def _token(self, query: dict[str, str], body: Json, id: str) -> Response:
        made: Json = self.example("installation-token")
        made.update(token="ghs_installation", expires_at="2026-07-11T22:14:10Z")
        return self._answer(201, made)

    def _installation(self, query: dict[str, str], body: Json) -> Response:
        return self._answer(200, self.example("installation"))


_IN = r"/repos/kernel/linux"
_ROUTES = (
    ("GET", rf"{_IN}/pulls/(\d+)", "_pull"),
    ("GET", rf"{_IN}/pulls", "_find"),
    ("POST", rf"{_IN}/pulls", "_open"),
    ("GET", rf"{_IN}/pulls/(\d+)/files", "_files"),
    ("GET", rf"{_IN}/issues/(\d+)/comments", "_list_comments"),
    ("POST", rf"{_IN}/issues/(\d+)/comments", "_create_comment"),
    ("GET", rf"{_IN}/issues/comments/(\d+)", "_read_comment"),
    ("PATCH", rf"{_IN}/issues/comments/(\d+)", "_update_comment"),
    ("POST", rf"{_IN}/issues/comments/(\d+)/reactions", "_react"),
    ("GET", rf"{_IN}/collaborators/([^/]+)/permission", "_role"),
    ("POST", rf"{_IN}/issues/(\d+)/labels", "_label"),
    ("DELETE", rf"{_IN}/issues/(\d+)/labels/(.+)", "_unlabel"),
    ("GET", rf"{_IN}/commits/([0-9a-f]+)", "_commit"),
    ("GET", rf"{_IN}/commits/([0-9a-f]+)/check-runs", "_list_checks"),
    ("POST", rf"{_IN}/check-runs", "_create_check"),
    ("PATCH", rf"{_IN}/check-runs/(\d+)", "_update_check"),
    ("POST", rf"{_IN}/statuses/([0-9a-f]+)", "_status"),
    ("POST", r"/app/installations/(\d+)/access_tokens", "_token"),
    ("GET", rf"{_IN}/installation", "_installation"),
)
