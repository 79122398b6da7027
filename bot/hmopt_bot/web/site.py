# SPDX-License-Identifier: Apache-2.0
"""What is served: one repository, its queue, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from git_hmopt.store.queue import Queue
from git_hmopt.store.repository import Repository
from hmopt_bot.registration import Registered
from hmopt_bot.web.inbox import Inbox
from hmopt_bot.web.limits import Buckets, Limits
from hmopt_bot.web.tokens import Tokens


@dataclass
class Site:
    """The parts that requests are answered from."""

    place: Path
    """The working tree."""
    queue: Queue
    tokens: Tokens | None = None
    """None where whoever reaches the address may do everything."""
    webhooks: Mapping[str, Registered] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    only_loopback: bool = True
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server ends: whoever follows events is told."""
    inbox: Inbox = field(init=False)
    forged: Buckets = field(init=False)
    streams: int = 0
    """Clients that follow events now."""

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.queue)
        self.forged = Buckets(self.limits.forged_a_minute)

    def repository(self) -> Repository:
        """Open the repository: what a person changes in its configuration counts at once."""
        return Repository.open(self.place)


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


SiteOf = Annotated[Site, Depends(_site)]
