"""The egress rules as they hold now: addresses of this machine come and go, and none of them may be reached."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

import psutil

from guardhouse.foundation.egress import Address, EgressRules, Target

REMEMBERED: Final = 4096  # URLs that passed
OWN_ADDRESSES_SECONDS: Final = 60.0


class CurrentRules:
    """The rules with this machine's addresses, which come and go, as of a minute ago at most."""

    def __init__(self, rules: EgressRules) -> None:
        self._rules = rules
        self._until = 0.0
        self._passed: dict[str, Target] = {}  # under the rules that hold now

    def check_url(self, url: str) -> Target:
        """Judge a URL under the rules that hold now; what passed is judged again when they are renewed.

        Raises:
            EgressRefused: against the rules, whatever its name resolves to.
        """
        rules = self.now()
        target = self._passed.get(url)
        if target is None:
            target = rules.check_url(url)
            if len(self._passed) >= REMEMBERED:
                self._passed.clear()
            self._passed[url] = target
        return target

    def now(self) -> EgressRules:
        """Return the rules that hold now."""
        moment = time.monotonic()
        if moment >= self._until:
            self._rules = replace(self._rules, own=frozenset(own_addresses()))
            self._passed.clear()
            self._until = moment + OWN_ADDRESSES_SECONDS
        return self._rules


def own_addresses() -> Iterator[Address]:
    """Yield the addresses of this machine's interfaces."""
    for interface in psutil.net_if_addrs().values():
        for found in interface:
            if found.family in {socket.AF_INET, socket.AF_INET6}:
                yield ip_address(found.address.partition("%")[0])
