"""When a visit did what, by what the browser tells of its network: the moments between a click and the first output.

The browser's clock of the network is set to unix time by the pairs that come with each request.
"""

from __future__ import annotations

import base64
from typing import Any

from playwright.async_api import CDPSession

_OUTPUTS = (b'"stream"', b'"execute_result"', b'"display_data"', b'"error"')
_LONGEST_HEAD = 4000  # bytes of a message in which its type is


class Timeline:
    """Listens to a page from its click on. `marks` are unix times of what happened first, or last where said."""

    def __init__(self, session: CDPSession) -> None:
        self.marks: dict[str, float] = {}
        self.size = 0.0
        self.requests = 0
        self._offset = 0.0  # from the network's clock to unix time
        self._kinds: dict[str, str] = {}  # what a request is of, by its id
        self._scripts_end = 0.0
        self._is_script: set[str] = set()
        for name, listener in (
            ("requestWillBeSent", self._sent),
            ("responseReceived", self._answered),
            ("loadingFinished", self._finished),
            ("webSocketCreated", self._socket),
            ("webSocketHandshakeResponseReceived", self._connected),
            ("webSocketFrameSent", self._said),
            ("webSocketFrameReceived", self._heard),
        ):
            session.on(f"Network.{name}", listener)

    def first(self, name: str, timestamp: float) -> None:
        """Mark a moment by the network's clock, unless it was before."""
        self.marks.setdefault(name, timestamp + self._offset)

    def usable(self, at: float) -> None:
        """The page can be used: scripts that came later were not waited for."""
        self.marks["usable"] = at
        if self._scripts_end:
            self.marks["scripts"] = min(self._scripts_end, at)

    def _sent(self, event: dict[str, Any]) -> None:
        self._offset = event["wallTime"] - event["timestamp"]
        kind = _kind(event)
        if event.get("type") == "Script":
            self._is_script.add(event["requestId"])
        if kind:
            self._kinds[event["requestId"]] = kind
            self.first(f"{kind} asked", event["timestamp"])

    def _answered(self, event: dict[str, Any]) -> None:
        if kind := self._kinds.get(event["requestId"]):
            self.first(f"{kind} answered", event["timestamp"])

    def _finished(self, event: dict[str, Any]) -> None:
        self.size += event["encodedDataLength"]
        self.requests += event["encodedDataLength"] > 0
        if kind := self._kinds.get(event["requestId"]):
            self.first(f"{kind} there", event["timestamp"])
        if event["requestId"] in self._is_script and "usable" not in self.marks:
            self._scripts_end = event["timestamp"] + self._offset

    def _socket(self, event: dict[str, Any]) -> None:
        if "/channels" in event["url"]:
            self._kinds[event["requestId"]] = "kernel"

    def _connected(self, event: dict[str, Any]) -> None:
        if self._kinds.get(event["requestId"]) == "kernel":
            self.first("kernel connected", event["timestamp"])

    def _said(self, event: dict[str, Any]) -> None:
        if b'"execute_request"' in _message(event):
            self.first("run sent", event["timestamp"])

    def _heard(self, event: dict[str, Any]) -> None:
        if "run sent" in self.marks and any(one in _message(event) for one in _OUTPUTS):
            self.first("output heard", event["timestamp"])


def _kind(event: dict[str, Any]) -> str:
    """What of ours a request is for, "" for all else."""
    request = event["request"]
    path = request["url"].partition("?")[0]
    if event.get("type") == "Document" and "/lab/tree/" in path:
        return "document"
    if request["method"] == "POST" and path.endswith(("/api/sessions", "/api/kernels")):
        return "session"
    if request["method"] == "POST" and path.endswith("/api/tickets"):
        return "claim"
    if "/lab/api/settings" in path:
        return "settings"
    if "/api/contents/" in path and path.endswith(".ipynb") and "content=0" not in request["url"]:
        return "contents"
    return ""


def _message(event: dict[str, Any]) -> bytes:
    """The beginning of a message, also of Jupyter's binary kind, in which heads are JSON as well."""
    payload = event["response"]["payloadData"]
    if event["response"]["opcode"] == 2:
        return base64.b64decode(payload[: _LONGEST_HEAD * 4])
    return str(payload)[:_LONGEST_HEAD].replace('": "', '":"').encode()
