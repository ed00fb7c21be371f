"""What the parts make of the options: each module's own reading of the snapshot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tmpnb_py.core.errors import ManifestError, SettingsError
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.idle import Limits
from tmpnb_py.proxy.cors import Cors
from tmpnb_py.proxy.limits import ProxyLimits
from tmpnb_py.service import listen
from tmpnb_py.web.branding import read_branding
from tmpnb_py.workshops.catalogue import Catalogue

MANIFEST = """
[[workshop]]
slug = "knots"
title = "Knots"
language = "Python"
description = "How to tie them."
duration = 60
start = "knots/Knots.ipynb"
"""


def test_the_idle_rules_take_their_limits_from_the_cull_options() -> None:
    settings = Settings(cull_timeout=1, cull_disconnected=2, cull_busy=3, cull_unvisited=4, cull_max=5)
    assert Limits.of(settings) == Limits(timeout=1, disconnected=2, busy=3, unvisited=4, maximum=5)


@pytest.mark.parametrize(
    ("options", "shortest"),
    [
        ({}, 300.0),
        ({"cull_unvisited": 0}, 900.0),
        ({"cull_busy": 1}, 300.0),  # it prolongs a session, and ends none
        ({"cull_timeout": 0, "cull_disconnected": 0, "cull_unvisited": 0, "cull_max": 0}, math.inf),
    ],
)
def test_the_shortest_limit_is_that_of_a_rule_that_ends_sessions(options: dict[str, Any], shortest: float) -> None:
    assert Limits.of(Settings(**options)).shortest == shortest


def test_an_answer_of_ours_may_take_longer_than_the_longest_wait() -> None:
    limits = ProxyLimits.of(Settings(max_wait=100, write_timeout=7, max_connections=8, max_connections_per_address=0))
    assert limits.application_timeout > 100
    assert (limits.write_timeout, limits.max_connections, limits.max_connections_per_address) == (7, 8, 0)


def test_sites_without_tokens_are_allowed_as_well() -> None:
    settings = Settings(
        allow_origin=("https://a.example",), tokenless_origin=("https://b.example",), expose_headers="X-A", max_age=90
    )
    cors = Cors.of(settings)
    assert cors.origins == {"https://a.example", "https://b.example"}
    assert cors.tokenless == {"https://b.example"}
    assert (cors.methods, cors.headers, cors.expose, cors.max_age) == ("", "", "X-A", 90)
    assert Cors.of(Settings()) == Cors()


def test_a_service_answers_to_the_names_of_its_options_and_of_its_machine() -> None:
    hosts = listen.hosts(Settings(allowed_hosts=("notes.example",), ip="host.example"), ("machine", "10.0.0.1"))
    names = (b"notes.example", b"host.example", b"machine", b"other.example")
    assert [hosts.knows(name) for name in names] == [True, True, True, False]


def test_the_machines_names_are_learned_after_the_start() -> None:
    own: list[str] = []
    options = LiveOptions(Settings())
    hosts = options.derive(lambda settings: listen.hosts(settings, own))
    own.append("machine")
    options.renew(hosts)
    assert hosts.value.knows(b"machine")
    options.replace(Settings(allowed_hosts=("notes.example",)))
    assert hosts.value.knows(b"machine")
    assert hosts.value.knows(b"notes.example")


def test_pages_look_as_options_and_logo_say(tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg/>")
    found = read_branding(Settings(site_title="Knots", site_logo=logo, announcement="Today"), is_preview=True)
    assert (found.title, found.announcement, found.footer, found.is_preview) == ("Knots", "Today", "", True)
    assert found.logo is not None
    assert found.logo.data == b"<svg/>"
    logo.unlink()
    with pytest.raises(SettingsError):
        read_branding(Settings(site_logo=logo))


async def test_a_broken_list_of_workshops_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "workshops.toml"
    file.write_text(MANIFEST)
    async with FakeHost() as host:
        catalogue = Catalogue(FakeEngine(host))
        assert not catalogue.is_known
        catalogue.read_own(file)
        assert [one.title for one in catalogue.manifest.workshops] == ["Knots"]
        file.write_text("no TOML")
        with pytest.raises(ManifestError):
            catalogue.read_own(file)
        assert [one.title for one in catalogue.manifest.workshops] == ["Knots"]
        catalogue.read_own(None)
        assert catalogue.own is None


def test_a_secret_is_compared_by_its_value() -> None:
    options = LiveOptions(Settings(admin_auth_token=SecretStr("one")))
    assert options.replace(Settings(admin_auth_token=SecretStr("one"))).changed == ()
    assert options.replace(Settings(admin_auth_token=SecretStr("other"))).changed == ("admin_auth_token",)
