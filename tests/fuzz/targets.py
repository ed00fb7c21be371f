"""Coverage-guided fuzzing with atheris: `python -m tests.fuzz.targets requests -max_total_time=600`.

atheris is among the test requirements where there are wheels for it. The targets are `requests`, `responses`,
`chunks` and `frames`. Further arguments are libFuzzer's (`-help=1` lists them); a directory among them keeps the
corpus. What is found is written to a file `crash-…`; give its name as an argument to see it again. The properties are
those that hypothesis checks (`properties.py`); here the inputs are led by what code they reach.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tmpnb_py.proxy", "tmpnb_py.proxy.header_rules", "tmpnb_py.core.links"]):
    from tests.fuzz.memory import TARGET, Memory
    from tests.fuzz.properties import check_chunks, check_frames, check_request_bytes, check_response_bytes
from tests.fuzz.smuggling import CORPUS
from tests.integration.proxy_support import SWITCHING
from tests.integration.test_proxy_fuzz import RESPONSE_PIECES


def _cuts(provider: atheris.FuzzedDataProvider) -> list[int]:
    return [provider.ConsumeIntInRange(1, 60) for _ in range(provider.ConsumeIntInRange(0, 8))]


def _rest(provider: atheris.FuzzedDataProvider) -> bytes:
    return bytes(provider.ConsumeBytes(provider.remaining_bytes()))


def _target(name: str, runner: asyncio.Runner) -> Callable[[bytes], None]:
    async def make() -> Memory:
        return Memory(max_head_size=8192)

    memory = runner.run(make())

    def requests(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        cuts = _cuts(provider)
        runner.run(check_request_bytes(memory, _rest(provider).replace(b"{}", TARGET), cuts))

    def responses(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        cuts, old = _cuts(provider), provider.ConsumeBool()
        method = b"HEAD" if provider.ConsumeBool() else b"GET"
        runner.run(check_response_bytes(memory, _rest(provider), cuts, method, old=old))

    def chunks(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        cuts = _cuts(provider)
        check_chunks(_rest(provider), cuts)

    def frames(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        cuts = _cuts(provider)
        check_frames(_rest(provider), cuts)

    return {"requests": requests, "responses": responses, "chunks": chunks, "frames": frames}[name]


def _responses() -> list[bytes]:
    """Whole heads and bodies of the pieces, which hypothesis joins by itself."""
    firsts = [piece for piece in RESPONSE_PIECES if piece.startswith(b"HTTP/")]
    others = [piece for piece in RESPONSE_PIECES if piece not in firsts]
    joined = [first + other + last for first in firsts for other in others for last in (b"\r\n", b"\r\nEVIL")]
    return [*firsts, *joined, SWITCHING]


def _seeds(name: str, directory: Path) -> None:
    """Something to begin with. FuzzedDataProvider takes numbers from the end and bytes from the beginning."""
    seeds = {"requests": CORPUS, "responses": _responses()}.get(name, [])
    for number, seed in enumerate(seeds):
        (directory / f"seed-{number}").write_bytes(seed + bytes(8))


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    name = sys.argv.pop(1)
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as directory:
        _seeds(name, Path(directory))
        arguments = sys.argv
        if not any(Path(one).is_file() for one in arguments[1:]):  # else it is a finding to be seen again
            arguments = [*arguments, directory]
        atheris.Setup(arguments, _target(name, runner))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
