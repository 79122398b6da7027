# SPDX-License-Identifier: Apache-2.0
"""schemathesis asks everything that the description allows, and much that it does not: nothing is a defect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from git_hmopt.store.queue import Queue
from hmopt_bot.web.app import application, described
from hmopt_bot.web.limits import Limits
from tests.bot.web.serving import Served, served
from tests.loop.project import Project, make_project

schema = schemathesis.openapi.from_dict(described(application(None)))


@pytest.fixture(scope="module")
def asked(with_run: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a project that has a run to ask for."""
    limits = Limits(requests_a_minute=1_000_000, forged_a_minute=1_000_000, body_s=5)
    with Queue(tmp_path_factory.mktemp("asked")) as queue, served(with_run.root, queue, limits=limits) as found:
        yield found


@pytest.fixture(scope="module")
def with_run(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one run that was closed without an iteration."""
    project = make_project(tmp_path_factory.mktemp("with-run"))
    done = project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0", "--name", NAME)
    assert done.returncode == 1, done.stderr
    return project


NAME = "20260131-scan-blocks-0a1b2c"


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_nothing_that_is_asked_is_a_defect(case: schemathesis.Case[Any], asked: Served) -> None:
    # Half of all names are the run's: one made at random is never that of a run.
    if "id" in (case.path_parameters or {}) and len(str(case.path_parameters["id"])) % 2:
        case.path_parameters["id"] = NAME
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    answer = case.call(base_url=asked.url, timeout=20)
    case.validate_response(answer, checks=checks)
    assert str(Path(asked.site.place)) not in answer.text
