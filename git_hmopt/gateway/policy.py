# SPDX-License-Identifier: Apache-2.0
"""Which endpoints and models may be asked: decided from values alone, before a byte is sent.

Internal is an address that cannot be routed on the internet (RFC 1918, RFC 4193, RFC 3927) or this machine. A name is
never internal by itself, since what it resolves to can change between the look and the call: names, and addresses
outside, have to be on the list that a person keeps in git's configuration, or in an exception for one run.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from git_hmopt.config.document import printable
from git_hmopt.errors import ConfigError
from git_hmopt.gateway.errors import PolicyError
from git_hmopt.gateway.profile import Profile

_PORTS = {"http": 80, "https": 443}
# is_private of the standard library holds more: documentation and benchmark networks, which nobody's gateway is in.
_INTERNAL = tuple(
    ipaddress.ip_network(one)
    for one in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        *("fc00::/7", "fe80::/10", "::1/128"),
    )
)


@dataclass(frozen=True)
class Endpoint:
    """A gateway's address, taken apart."""

    scheme: str
    host: str
    """In lower case; an IPv6 address without brackets."""
    port: int
    path: str

    @property
    def url(self) -> str:
        """Return the base address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def place(self) -> str:
        """Return `host:port`, by which people allow it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Exemption:
    """What one run may ask beside the rules, who said so, and why; it stands in the run's record."""

    endpoint: str
    """`host` or `host:port`."""
    who: str
    why: str


def endpoint_of(url: str) -> Endpoint:
    """Return an address taken apart; ConfigError when it is none that could be asked."""

    def refuse(what: str) -> ConfigError:
        return ConfigError(printable(f"the gateway's address '{_without_userinfo(url)}' {what}"))

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refuse(f"is none: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise refuse("is none: it begins with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise refuse("holds a name or a password: keep the key in HMOPT_GATEWAY_KEY or a credential helper")
    if parts.query or parts.fragment:
        raise refuse("holds a query or a fragment")
    if not url.isascii() or any(not one.isprintable() or one.isspace() for one in url):
        raise refuse("holds characters that no address has")
    host = parts.hostname.rstrip(".").lower()
    return Endpoint(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def _without_userinfo(url: str) -> str:
    before, at, after = url.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return f"{scheme}{slashes}...@{after}" if at and slashes else url


def is_internal(endpoint: Endpoint) -> bool:
    """Say whether an endpoint cannot be outside: its address is written out and is not routed there."""
    if endpoint.host == "localhost":  # RFC 6761: never asked of a name server
        return True
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _INTERNAL if network.version == address.version)


@dataclass(frozen=True)
class Policy:
    """What a person allows."""

    allowed: frozenset[str] = frozenset()
    """Endpoints beside the internal ones, each `host` or `host:port`."""
    exemptions: tuple[Exemption, ...] = ()

    def judge(self, endpoint: Endpoint, model: str, profile: Profile) -> Exemption | None:
        """Return the exemption that a request needs, None when it needs none. Raises PolicyError when it may not be."""
        if model not in profile.named:
            raise PolicyError(
                printable(f"the model '{model}' is not in the profile {profile.name}: nothing was sent"),
                next_step=f"it has {', '.join(sorted(profile.named))}",
            )
        if is_internal(endpoint) or _listed(endpoint, self.allowed):
            return None
        for one in self.exemptions:
            if _listed(endpoint, (one.endpoint,)):
                return one
        raise PolicyError(
            printable(f"{endpoint.place} is not an internal address and on no list: nothing was sent"),
            next_step=f"to allow it, name {endpoint.place} in: git config --global hmopt.gateway.allow",
        )


def _listed(endpoint: Endpoint, places: Iterable[str]) -> bool:
    return any(one.strip().lower() in (endpoint.host, endpoint.place) for one in places)
