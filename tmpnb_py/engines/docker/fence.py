"""Firewall rules on a pool's bridge, which bound what its notebooks can reach (see `fence_rules`).

A short-lived container installs, verifies and removes them: it shares the network of the engine's machine and may
change it, which notebooks do not. Used by the Docker engine only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerConfig, Egress
from tmpnb_py.engines.docker import fence_rules
from tmpnb_py.engines.docker.trials import NoPythonError, Trials, facts, python

_RULES = Path(fence_rules.__file__)
_MEMORY = 128 * 1024 * 1024
_REMEDY = (
    "make sure that the engine's machine has nf_tables and lets a container with NET_ADMIN change it; or, "
    "with egress internet, open everything with --egress-allow '*'"
)


class FenceError(EngineError):
    """The rules are not in force."""


def wish_of(config: ContainerConfig, bridge: str) -> dict[str, Any]:
    """Describe the rules for such containers' bridge, as `fence_rules` takes them."""
    is_open = config.egress is Egress.INTERNET
    allow = sorted(config.egress_allow) if is_open else []
    return {"bridge": bridge, "open": is_open, "dns": is_open, "allow": allow, "resolvers": []}


class Fence:
    """Installs and removes the rules of a pool's networks."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._resolvers: list[str] | None = None

    def forget(self) -> None:
        """Forget the resolvers: the engine may have been restarted with others."""
        self._resolvers = None

    @staticmethod
    def looking(image_id: str) -> dict[str, Any]:
        """The body of a container that shares the machine's network and may change nothing of it."""
        body = _body(image_id)
        body["HostConfig"]["CapAdd"] = []
        return body

    async def put_up(self, table: str, wish: dict[str, Any], image_id: str) -> bool:
        """Make sure that the rules are in force. Returns whether they had to be installed. Raises `FenceError`.

        The image must have Python.
        """
        if wish["dns"] and self._resolvers is None:
            self._resolvers = await self._find_resolvers(image_id)
        answer = await self._ask(table, {**wish, "resolvers": self._resolvers or []}, image_id)
        return bool(answer["changed"])

    async def take_down(self, table: str, image_id: str) -> None:
        """Remove the rules, if there are any. Raises `FenceError`."""
        await self._ask(table, None, image_id)

    async def _find_resolvers(self, image_id: str) -> list[str]:
        """Find the name servers that the engine asks for its containers.

        A machine whose resolver is a stub on its loopback (systemd-resolved) hides them, but a container on the
        engine's default bridge is configured with them.
        """
        if found := (await self._ask("", None, image_id))["resolvers"]:
            return list(found)
        body = _body(image_id) | python(_RULES, {"table": "", "wish": None})
        body["HostConfig"] |= {"NetworkMode": "bridge", "CapAdd": [], "UsernsMode": ""}
        try:
            ended = await self._trials.run(body)
        except EngineError:  # an engine may have no default bridge
            return []
        return list((facts(ended.lines) or {}).get("resolvers", ()))

    async def _ask(self, table: str, wish: dict[str, Any] | None, image_id: str) -> dict[str, Any]:
        body = _body(image_id) | python(_RULES, {"table": table, "wish": wish})
        try:
            ended = await self._trials.run(body)
        except NoPythonError as error:
            raise FenceError(f"cannot install firewall rules: {error.message}", remedy=_REMEDY) from error
        answer = facts(ended.lines)
        if answer is None:
            last = " ".join(ended.lines[-1:])
            raise FenceError(f"cannot install firewall rules (status {ended.status}): {last}", remedy=_REMEDY)
        if answer["error"]:
            raise FenceError(f"the kernel refuses the firewall rules: {answer['error']}", remedy=_REMEDY)
        return answer


def _body(image_id: str) -> dict[str, Any]:
    return {
        "Image": image_id,
        "User": "0",
        "HostConfig": {
            "NetworkMode": "host",
            "UsernsMode": "host",  # the machine's network belongs to the machine's users
            "CapDrop": ["ALL"],
            "CapAdd": ["NET_ADMIN"],
            "SecurityOpt": ["no-new-privileges", "label=disable"],
            "ReadonlyRootfs": True,
            "PidsLimit": 16,
            "Memory": _MEMORY,
            "MemorySwap": _MEMORY,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        },
    }
