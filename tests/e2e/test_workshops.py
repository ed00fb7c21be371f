"""The landing page offers the workshops that the image itself tells of."""

from __future__ import annotations

import dataclasses
import time

import pytest

from tests.e2e.inprocess import running
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.fake import FAKE_IMAGE, FakeHost
from tmpnb_py.workshops.manifest import MAX_SIZE

PLACE = "/usr/share/workshops/workshops.toml"
MANIFEST = b"""
[[workshop]]
slug = "knots"
title = "Knots & <Loops>"
language = "R"
description = "Tie your own."
duration = 45
start = "knots/First knot.ipynb"
"""


def host_with(manifest: bytes | None) -> FakeHost:
    """A machine whose image has this manifest."""
    host = FakeHost()
    host.images["fake"] = dataclasses.replace(FAKE_IMAGE, image="fake", workshops=PLACE)
    host.files["fake"] = {} if manifest is None else {PLACE: manifest}
    return host


async def test_each_workshop_opens_with_one_click_and_counts_for_itself() -> None:
    async with host_with(MANIFEST) as host, running(host) as rig:
        await rig.ready(1)
        async with rig.client.get("/") as response:
            page = await response.text()
        assert "Knots &amp; &lt;Loops&gt;" in page
        assert "about 45 minutes" in page
        assert '<a class="copy" href="/spawn?workshop=knots"' in page
        assert '<input type="hidden" name="path" value="lab/tree/knots/First%20knot.ipynb">' in page
        origin = str(rig.client._base_url).rstrip("/")
        form = {"path": "lab/tree/knots/First knot.ipynb"}
        async with rig.client.post(
            "/spawn", data=form, headers={"Origin": origin}, allow_redirects=False
        ) as response:
            assert response.status == 303
            assert "/lab/tree/knots/First%20knot.ipynb?token=" in response.headers["Location"]
        async with rig.client.get("/metrics") as response:
            assert 'tmpnb_workshop_claims_total{workshop="knots"} 1.0' in await response.text()


@pytest.mark.parametrize("manifest", [None, b"[[workshop]]\nslug = 7\n", b"\xff"])
async def test_an_image_without_a_manifest_that_can_be_read_still_serves_notebooks(manifest: bytes | None) -> None:
    async with host_with(manifest) as host, running(host) as rig:
        await rig.ready(1)
        async with rig.client.get("/") as response:
            page = await response.text()
        assert "Blank notebook" in page
        assert "Workshops" not in page


@pytest.mark.parametrize(
    "files", [{PLACE: b"#" * (MAX_SIZE + 2)}, {f"{PLACE}/a": b"x"}, {f"{PLACE}/a": b"x" * (MAX_SIZE + 2)}]
)
async def test_what_can_never_be_a_manifest_is_read_once(files: dict[str, bytes]) -> None:
    """A file that is too large, or a label that names a directory: the image will not change."""
    async with host_with(None) as host:
        host.files["fake"] = files
        async with running(host) as rig:
            await rig.ready(1)
            for _ in range(3):
                listed = sum(call == "list" for call, _ in rig.engine.calls)
                rig.pool.observe_soon()
                await rig.until(lambda listed=listed: sum(c == "list" for c, _ in rig.engine.calls) > listed)  # type: ignore[misc]
            await rig.spawn()
            await rig.ready(1)
            assert sum(call == "read_image" for call, _ in rig.engine.calls) == 1


async def test_a_manifest_is_read_once_per_image_and_asked_for_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with host_with(MANIFEST) as host, running(host, pool_size=0) as rig:
        catalogue, now = rig.service.served.catalogue, time.monotonic()

        def slugs() -> set[str]:
            return {workshop.slug for workshop in catalogue.manifest.workshops}

        monkeypatch.setattr(catalogue._attempts, "_clock", lambda: now)
        await rig.until(lambda: slugs() == {"knots"})
        reads = sum(1 for call, _ in rig.engine.calls if call == "read_image")
        assert reads == 1
        other = ImageFacts("fake", "sha256:new", workshops=PLACE)
        rig.engine.fail_next("read_image", EngineError("not now"))
        await catalogue.learn(other)
        assert slugs() == {"knots"}
        await catalogue.learn(other)
        assert sum(1 for call, _ in rig.engine.calls if call == "read_image") == reads + 1, "not in every round"
        now += 6
        host.files["fake"] = {PLACE: MANIFEST.replace(b'"knots"', b'"hitches"', 1)}
        await catalogue.learn(other)
        assert slugs() == {"hitches"}
        await catalogue.learn(other)
        assert sum(1 for call, _ in rig.engine.calls if call == "read_image") == reads + 2
