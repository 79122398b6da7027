# SPDX-License-Identifier: Apache-2.0
"""From a person's settings to a gateway for one run. Making it opens no connection."""

from __future__ import annotations

import os
import pwd
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from git_hmopt.config.settings import KEY_VARIABLE, GatewaySettings
from git_hmopt.errors import ConfigError, MissingProgramError
from git_hmopt.gateway.policy import Endpoint, Exemption, Policy, endpoint_of, is_internal
from git_hmopt.gateway.profile import Profile, load_profile
from git_hmopt.store.credentials import stored_password

if TYPE_CHECKING:  # both need packages that only they need
    from git_hmopt.gateway.client import Gateway

_HOW = "git config --global hmopt.gateway.profile NAME"


@dataclass(frozen=True)
class Chosen:
    """The gateway that a person chose."""

    profile: Profile
    endpoint: Endpoint
    policy: Policy

    @property
    def told(self) -> str:
        """Return it in a line."""
        where = "internal" if is_internal(self.endpoint) else "outside the internal networks"
        return f"profile {self.profile.name}, {self.endpoint.url} ({where})"


def chosen(settings: GatewaySettings, exemptions: tuple[Exemption, ...] = ()) -> Chosen | None:
    """Return the gateway of the settings, None where a person has chosen none; ConfigError says what is wrong."""
    if settings.profile is None:
        if settings.url is not None:
            raise ConfigError("hmopt.gateway.url is set, and no profile says which models are there", next_step=_HOW)
        return None
    profile = load_profile(settings.profile)
    url = settings.url or profile.url
    if url is None:
        raise ConfigError(
            f"the profile {profile.name} has no address", next_step="git config --global hmopt.gateway.url URL"
        )
    allowed = frozenset(settings.allow.replace(",", " ").split())
    return Chosen(profile, endpoint_of(url), Policy(allowed, exemptions))


def key_for(endpoint: Endpoint, cwd: Path, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the key: the environment's, or what a credential helper keeps for the endpoint; it is never a setting."""
    given = (os.environ if environment is None else environment).get(KEY_VARIABLE)
    return given or stored_password(cwd, protocol=endpoint.scheme, host=endpoint.place)


def _account() -> str:
    """Return what the system calls who runs this; a container's user may have no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def opened(
    settings: GatewaySettings, cwd: Path, *, exemptions: tuple[Exemption, ...] = (),
    cancelled: threading.Event | None = None, key: Callable[[Endpoint, Path], str | None] = key_for,
    spent: tuple[int, Decimal] = (0, Decimal(0)),
) -> Gateway:  # fmt: skip
    """Return a gateway for one run that spent so many tokens and so much money before.

    ConfigError when none is chosen, PolicyError when one of its models may not be asked, MissingProgramError without
    its packages.
    """
    found = chosen(settings, exemptions)
    if found is None:
        raise ConfigError("no gateway is configured, so that no model can be asked", next_step=f"choose one: {_HOW}")
    try:
        from git_hmopt.gateway.client import Gateway, Limits
        from git_hmopt.gateway.ledger import Ledger
        from git_hmopt.gateway.outbound import Outbound
    except ModuleNotFoundError as error:
        raise MissingProgramError(
            error.name or "openai", lost="no model can be asked", install="pip install 'git-hmopt[llm]'"
        ) from error
    money = None if settings.money is None else Decimal(str(settings.money))
    people = {os.environ.get("USER", ""), os.environ.get("LOGNAME", ""), Path.home().name, _account()}
    gateway = Gateway(
        found.endpoint,
        found.profile,
        found.policy,
        ledger=Ledger(settings.tokens, money, *spent),
        outbound=Outbound(hosts={socket.gethostname(), socket.gethostname().partition(".")[0]}, people=people),
        key=key(found.endpoint, cwd),
        limits=Limits(seconds=settings.seconds, silence_s=min(Limits.silence_s, settings.seconds)),
        cancelled=cancelled,
    )
    gateway.judge()
    return gateway
