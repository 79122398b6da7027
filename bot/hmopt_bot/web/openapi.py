# SPDX-License-Identifier: Apache-2.0
"""`python -m hmopt_bot.web.openapi` prints the OpenAPI description of the API."""

from __future__ import annotations

import json

from hmopt_bot.web.app import application, described


def description() -> str:
    """Return the description as JSON."""
    return json.dumps(described(application(None)), indent=1, sort_keys=True)


if __name__ == "__main__":
    print(description())
