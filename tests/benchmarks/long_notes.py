"""A notes page of 500 cells with outputs: first paint, when it is alive, its bytes, and running all of it.

    python -m tests.benchmarks.long_notes [--cells 500] [--times 5] [--image tmpnb-py-workshops:latest]

The peer, in the same run and browser, is what `jupyter nbconvert --to html` makes of the same notebook, served as a
file. Its scripts come from a CDN, which is cut off here: its figures are those of a page without them. The notebook
is added to the image under a name of its own, which is removed in the end. Needs a Docker engine and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route

from tests.benchmarks import rig
from tests.e2e.service import Service, run_service
from tests.e2e.sites import site
from tests.integration.browser_support import browser

MANIFEST = """\
[[workshop]]
slug = "long"
title = "A long one"
language = "Python"
description = "Many cells."
duration = 60
start = "long/Long.ipynb"
"""
ALIVE = "() => document.querySelectorAll('.tn-run').length === document.querySelectorAll('.tn-cell').length"
PAINT = """() => new Promise((resolve) => new PerformanceObserver((all) => {
    const found = all.getEntriesByName('first-contentful-paint')[0];
    if (found) resolve(found.startTime);
}).observe({type: 'paint', buffered: true}))"""


def picture(seed: int) -> str:
    """A PNG of about 12 kB, as a small plot has it, in base64."""
    noise = random.Random(seed)
    rows = b"".join(b"\x00" + noise.randbytes(120) for _ in range(100))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (120).to_bytes(4, "big") + (100).to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


def notebook(cells: int) -> str:
    """Text and code by turns; outputs are printed lines, tables, and a picture in every tenth."""
    made = []
    for number in range(cells):
        outputs: list[dict[str, Any]] = [
            {"output_type": "stream", "name": "stdout", "text": f"{number} squared\n{number * number}\n"}
        ]
        data = {"text/plain": "   a  b\n0  1  2", "text/html": f"<table><tr><td>{number}</td><td>1</td></tr></table>"}
        if number % 10 == 0:
            data = {"text/plain": "<Figure>", "image/png": picture(number)}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
        text = f"## Part {number}\n\nSome words with `code`." if number % 20 == 0 else f"Some words, **{number}**."
        source = f"x = {number}\nfor _ in range(2):\n    y = x * x\nprint(x, 'squared')\nprint(y)"
        code = {"cell_type": "code", "metadata": {}, "source": source, "outputs": outputs, "execution_count": number}
        made += [{"cell_type": "markdown", "metadata": {}, "source": text}, code]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": made})


@contextlib.contextmanager
def image_with(folder: Path, base: str) -> Iterator[str]:
    """The image with the workshop in the folder."""
    name = f"tmpnb-bench-{secrets.token_hex(4)}:latest"
    add = ["image", "workshops", "--add", str(folder), "--image", base, "--tag", name]
    subprocess.run([sys.executable, "-m", "tmpnb_py", *add], check=True, stdout=subprocess.DEVNULL)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", name], check=False, stdout=subprocess.DEVNULL)


def converted(folder: Path) -> Path:
    """What nbconvert makes of the notebook."""
    command = ["nbconvert", "--to", "html", "--output-dir", str(folder), str(folder / "long" / "Long.ipynb")]
    subprocess.run([sys.executable, "-m", "jupyter", *command], check=True, capture_output=True)
    return folder / "Long.html"


async def load(address: str, *, alive: bool) -> tuple[float, float, int]:
    """Milliseconds to the first paint, and to all cells being alive (0 where none are to be); bytes of all files."""
    async with browser() as context:
        page = await context.new_page()
        origin = address.split("/")[2]

        async def only_ours(route: Route) -> None:
            await (route.continue_() if route.request.url.split("/")[2] == origin else route.abort())

        await page.route(re.compile("^https?:"), only_ours)
        await page.goto(address, wait_until="load")
        paint = float(await page.evaluate(PAINT))
        ready = 0.0
        if alive:
            await page.wait_for_function(ALIVE)
            ready = float(
                await page.evaluate("performance.timing.domInteractive - performance.timing.navigationStart")
            )
        count = "performance.getEntries().reduce((sum, one) => sum + (one.encodedBodySize || 0), 0)"
        return paint, ready, int(await page.evaluate(count))


async def run_all(page: Page, address: str) -> float:
    """Seconds from the click on the last cell's "Run all above" to the last output, with the notebook's claim."""
    await page.goto(address)
    await page.wait_for_function(ALIVE)
    return float(
        await page.evaluate(
            """() => new Promise((resolve) => {
                const cells = [...document.querySelectorAll('.tn-cell')];
                const began = performance.now();
                const look = () => {
                    if (cells.at(-2).dataset.state === 'done') resolve((performance.now() - began) / 1000);
                    else setTimeout(look, 50);
                };
                const buttons = [...cells.at(-1).querySelectorAll('button')];
                buttons.find((one) => one.textContent === 'Run all above').click();
                look();
            })"""
        )
    )


def told(name: str, values: list[float], unit: str) -> None:
    """One line of the table."""
    middle, least, most = (round(value, 1) for value in (statistics.median(values), min(values), max(values)))
    print(f"{name}: median {middle} {unit}, {least} to {most} ({len(values)} times)")


async def measure(service: Service, html: Path, cells: int, times: int) -> None:
    """Both pages by turns."""
    address = f"{service.url}workshops/long/"
    figures: dict[str, list[tuple[float, float, int]]] = {"notes page": [], "nbconvert": []}
    with site() as other:
        other.content["/Long.html"] = html
        await load(address, alive=True)  # the page is made when it is first asked for
        for _ in range(times):
            figures["notes page"].append(await load(address, alive=True))
            figures["nbconvert"].append(await load(f"{other.origin}/Long.html", alive=False))
    for name, all_of in figures.items():
        told(f"{name}, first paint", [one[0] for one in all_of], "ms")
        if name == "notes page":
            told(f"{name}, all cells alive", [one[1] for one in all_of], "ms")
        print(f"{name}, bytes of the page and all that it loads: {all_of[0][2]}")
    async with browser() as context:
        seconds = await run_all(await context.new_page(), address)
    print(
        f"notes page, run all {cells - 1} above the last: {seconds:.1f} s, {1000 * seconds / cells:.0f} ms for each"
    )


def main(cells: int, times: int, image: str) -> None:
    """Prepare, measure, and leave nothing behind."""
    rig.need("chromium", images=[image])
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "long").mkdir()
        (folder / "workshops.toml").write_text(MANIFEST)
        (folder / "long" / "Long.ipynb").write_text(notebook(cells))
        with image_with(folder, image) as name:
            options = [f"--image={name}", "--pool-size=1", "--cpu-quota=0"]
            html = converted(folder)
            with run_service(f"long{secrets.token_hex(4)}", *options) as service:
                service.wait_for("static_files_shared")
                asyncio.run(measure(service, html, cells, times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--image", default="tmpnb-py-workshops:latest")
    given = parser.parse_args()
    main(given.cells, given.times, given.image)
