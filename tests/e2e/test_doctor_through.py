"""`doctor --through`: real nginx in front of a real service, set up as people set it up; each mistake is told."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.e2e.service import Deployment, Service
from tests.integration.command_support import run
from tests.nginx_support import nginx
from tests.ports import free_ports
from tmpnb_py.cli.commands.findings import Finding, Grade
from tmpnb_py.cli.commands.visit import visit

UPGRADE = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
HOST = "proxy_set_header Host $http_host;"
# As on many sites: everything is compressed, and compressing waits for more.
KEPT_BACK = "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_proxied any; gzip_min_length 0; gzip_types *;"
# What the proxy does -> the beginning of what is found, and a word of what to do.
MISTAKES = {
    f"{HOST} proxy_buffering off;": ("no WebSocket comes through (status 4", "Upgrade and Connection"),
    f"{UPGRADE} proxy_set_header Host localhost;": (
        "http://127.0.0.1:PORT takes its own pages for another",
        "on Host",
    ),
    f"{UPGRADE} proxy_set_header Host inner.example;": (
        "http://127.0.0.1:PORT answers 421 to its name",
        "allowed_hosts",
    ),
    f"{HOST} {UPGRADE} {KEPT_BACK}": (
        "what the service sends bit by bit comes late",
        "buffer",
    ),
    "return 404;": ("http://127.0.0.1:PORT is not tmpnb-py's (/healthz: 404)", "the address"),
}


async def found_behind(service: Service, rules: str, directory: Path) -> tuple[int, list[Finding]]:
    """The port of such an nginx, and what a visit by it finds."""
    upstream = re.findall(r":(\d+)/", service.url)[0]
    (port,) = free_ports(1)
    way = "" if "return" in rules else f"proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;"
    directory.mkdir()
    server = f"server {{ listen 127.0.0.1:{port}; location / {{ {way} {rules} }} }}"
    async with nginx(directory, server, place=port):
        return port, await visit(f"http://127.0.0.1:{port}/")


@pytest.mark.engine
@pytest.mark.long
@pytest.mark.timeout(300)
async def test_what_a_proxy_does_wrong_is_told(deployment: Deployment, workshop_image: str, tmp_path: Path) -> None:
    service = deployment.start(f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0")
    await service.ready(1)
    _, (well,) = await found_behind(service, f"{HOST} {UPGRADE} proxy_buffering off;", tmp_path / "right")
    assert (well.grade, well.subject) == (Grade.OK, "proxy"), well
    for number, (rules, (text, remedy)) in enumerate(MISTAKES.items()):
        port, found = await found_behind(service, rules, tmp_path / str(number))
        (one,) = found
        assert one.grade is (Grade.WARN if "late" in text else Grade.FAIL), one
        assert one.text.startswith(text.replace("PORT", str(port))), one
        assert remedy in one.remedy, one
    assert (await service.stats())["claimed"] == 0, "each visitor has ended what it took"


async def test_an_address_where_nobody_is(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    options = [f"--through=http://127.0.0.1:{port}", f"--runtime-dir={tmp_path}", "--port=0", "--admin-port=0"]
    done = await run("doctor", "--json", *options, env={"DOCKER_HOST": "unix:///nowhere.sock"})
    (proxy,) = [one for one in json.loads(done.out)["findings"] if one["subject"] == "proxy"]
    assert (done.code, proxy["grade"]) == (8, "FAIL")
    assert os.strerror(111) in proxy["text"] or "Connect call failed" in proxy["text"]
    assert (await run("doctor", "--through=notebooks.example.org")).code == 2
