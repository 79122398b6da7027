# SPDX-License-Identifier: Apache-2.0
"""The token that a forge is spoken to with: the one that was configured, or an App's installation's of this hour."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from git_hmopt.errors import ConfigError
from git_hmopt.store.forge_remote import ForgeRemote, Login
from hmopt_bot.forges.forge import Forge
from hmopt_bot.forges.github import GitHub
from hmopt_bot.forges.github_app import InstallationToken
from hmopt_bot.pulls.speaking import Pace, Speaker
from hmopt_bot.registration import Registered

_GIT_USER = {"github": "x-access-token", "gitcode": "oauth2"}
"""What stands before a token where git asks for a user; Gitee wants the login."""


@dataclass
class Access:
    """Keeps installation tokens in memory until shortly before their end."""

    home: Path
    """Where what is written is counted, for all workers of a repository."""
    _speakers: dict[str, Speaker] = field(default_factory=dict)
    _tokens: dict[str, InstallationToken] = field(default_factory=dict, repr=False)

    def speaker(self, registered: Registered) -> Speaker:
        """Return what sends calls for a webhook."""
        name = registered.name
        if name not in self._speakers:
            path = self.home / f"pace-{name}.json"
            self._speakers[name] = Speaker(Pace(path, registered.writes_a_minute, registered.writes_an_hour))
        return self._speakers[name]

    def forge(self, registered: Registered) -> Forge:
        """Return the forge with a token that is good for what takes a while. Raises ApiError or ConfigError."""
        app, forge = registered.app, registered.forge
        if app is None or not isinstance(forge, GitHub):
            return forge
        now = time.time()
        known = self._tokens.get(registered.name)
        if known is None or not known.fresh(now):
            speaker = self.speaker(registered)
            installation = speaker.ask(app.installation_of(registered.repository, now))
            known = speaker.ask(app.token(installation, now, repositories=(registered.repository.name,)))
            self._tokens[registered.name] = known
        return forge.with_token(known.token)

    def remote(self, registered: Registered, forge: Forge) -> ForgeRemote:
        """Return the git remote, with the same token."""
        if forge.token is None:
            raise ConfigError(f"the webhook '{registered.name}' has no token", next_step="configure one")
        login = Login(_GIT_USER.get(forge.name, registered.login), forge.token.get_secret_value())
        return ForgeRemote(registered.remote, login)

    def forget(self, registered: Registered) -> None:
        """Forget a token that the forge did not take."""
        self._tokens.pop(registered.name, None)
