"""Which engine is used, and what the local one means for the settings: who may connect, what it cannot do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tmpnb_py.core.errors import EngineError, ImageMissingError, SettingsError
from tmpnb_py.core.models import Egress
from tmpnb_py.engines import registry
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.fake import FakeEngine
from tmpnb_py.engines.local import fitting
from tmpnb_py.engines.local.engine import COMMAND, LocalEngine
from tmpnb_py.engines.local.fitting import for_local_engine
from tmpnb_py.engines.local.sandbox import Sandbox
from tmpnb_py.engines.registry import ENGINES, choose
from tmpnb_py.engines.swarm.fitting import for_swarm
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.values import OUR_ENGINES

SANDBOX = Sandbox("/usr/bin/bwrap", "0.8.0", as_root=False, locked=True)
REASON = "bubblewrap (the program bwrap) is not installed"


@pytest.mark.parametrize(
    ("sandbox", "given", "address"),
    [
        (SANDBOX, {"engine": "local"}, "0.0.0.0"),
        (SANDBOX, {"engine": "local", "ip": "10.1.2.3"}, "10.1.2.3"),
        (SANDBOX, {}, "127.0.0.1"),
        (SANDBOX, {"ip": "::1"}, "::1"),
        (SANDBOX, {"ip": "127.0.0.2"}, "127.0.0.2"),
        (None, {"engine": "local"}, "127.0.0.1"),
        (None, {}, "127.0.0.1"),
        (None, {"ip": "localhost"}, "localhost"),
    ],
)
def test_where_it_listens(sandbox: Sandbox | None, given: dict[str, Any], address: str) -> None:
    settings = for_local_engine(Settings(**given), sandbox, REASON)
    assert settings.ip == address
    assert settings.command == COMMAND


@pytest.mark.parametrize("given", [{"ip": "0.0.0.0"}, {"ip": "0.0.0.0", "engine": "local"}, {"ip": "::"}])
def test_without_a_sandbox_nobody_else_is_let_in(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        for_local_engine(Settings(**given), None, REASON)
    assert given["ip"] in caught.value.message
    assert REASON in caught.value.message
    assert "apt-get install bubblewrap" in caught.value.remedy


def test_strangers_are_let_in_only_when_it_is_said() -> None:
    with pytest.raises(SettingsError, match="no Docker engine was found") as caught:
        for_local_engine(Settings(ip="0.0.0.0"), SANDBOX, "")
    assert "--engine local" in caught.value.remedy


@pytest.mark.parametrize(
    "given",
    [
        {"docker_network": "web"},
        {"host_network": True, "admin_auth_token": "x"},
        {"transport": "port"},
        {"command": "x --port {port}"},
    ],
)
def test_other_ways_to_a_notebook_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="reached by Unix sockets only") as caught:
        for_local_engine(Settings(**given), SANDBOX, "")
    assert f"--{next(iter(given)).replace('_', '-')}" in caught.value.message


def test_an_open_network_needs_an_admin_token() -> None:
    everything: dict[str, Any] = {"egress": Egress.INTERNET, "egress_allow": "*"}
    with pytest.raises(SettingsError, match="admin listener"):
        for_local_engine(Settings(**everything), SANDBOX, "")
    for_local_engine(Settings(**everything, admin_auth_token=SecretStr("x")), SANDBOX, "")
    for_local_engine(Settings(egress=Egress.INTERNET), None, REASON)  # there they have it in any case


def test_without_a_sandbox_the_web_is_not_the_only_thing_in_reach() -> None:
    with pytest.raises(SettingsError, match="without a sandbox notebooks reach whatever this machine reaches"):
        for_local_engine(Settings(egress=Egress.WEB), None, REASON)
    assert for_local_engine(Settings(egress=Egress.WEB), SANDBOX, "").egress is Egress.WEB


@pytest.mark.parametrize("allow", ["", "10.0.0.0/8", "0.0.0.0/0"])
def test_the_public_internet_only_is_more_than_a_sandbox_can(allow: str) -> None:
    settings = Settings(egress=Egress.INTERNET, egress_allow=allow, admin_auth_token=SecretStr("x"))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="not only the public internet") as caught:
        for_local_engine(settings, SANDBOX, "")
    assert "--egress-allow '*'" in caught.value.remedy


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"egress": Egress.INTERNET}, "--egress"),
        ({"egress": Egress.WEB}, "--egress"),
        ({"host_network": True, "admin_auth_token": "x"}, "--host-network"),
        ({"docker_network": "theirs"}, "--docker-network"),
        ({"transport": "port", "command": "x {port}"}, "--transport"),
    ],
)
def test_notebooks_of_a_swarm_get_no_network(given: dict[str, Any], flag: str) -> None:
    with pytest.raises(SettingsError, match="have no network") as caught:
        for_swarm(Settings(**given))
    assert flag in caught.value.message.split(": ")[0].split(", ")


async def test_docker_wherever_there_is_a_trace_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_sandbox", lambda _: (SANDBOX, ""))
    monkeypatch.setattr(registry, "choose_engine", lambda settings, environ: "docker")
    chosen = await choose(Settings(runtime_dir=tmp_path), {})
    assert isinstance(chosen.make("r"), DockerEngine)
    assert chosen.adapt(Settings()) == Settings()
    monkeypatch.setattr(registry, "choose_engine", lambda settings, environ: "local")
    assert isinstance((await choose(Settings(runtime_dir=tmp_path), {})).make("r"), LocalEngine)


async def test_jupyterlab_is_asked_for_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> dict[str, str]:
        raise ImageMissingError("the local engine needs JupyterLab", remedy="pip install '.[local]'")

    monkeypatch.setattr(fitting, "python_versions", missing)
    monkeypatch.setattr(registry, "find_sandbox", lambda _: (None, REASON))
    monkeypatch.setattr(registry, "choose_engine", lambda settings, environ: "local")
    chosen = await choose(Settings(runtime_dir=tmp_path), {})
    with pytest.raises(ImageMissingError, match=r"^no Docker engine was found, and the local engine needs") as caught:
        chosen.adapt(Settings())
    assert "pip install '.[local]'" in caught.value.remedy
    with pytest.raises(ImageMissingError, match=r"^the local engine needs"):
        chosen.adapt(Settings(engine="local"))


# --- engines of others

Installs = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installs:
    """Install a package that declares the engine `theirs`, with a module of this text."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(text: str, *, package: str = "theirs-engine", module: str = "their_engine_module") -> None:
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.delitem(sys.modules, module, raising=False)
        about = tmp_path / f"{package.replace('-', '_')}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (about / "entry_points.txt").write_text(f"[tmpnb_py.engines]\ntheirs = {module}:choose\n")
        importlib.invalidate_caches()

    return put


WORKS = """
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.engines.registry import Chosen

async def choose(settings, environ, workshops):
    host = FakeHost()
    return Chosen("of no account", lambda pool: FakeEngine(host, pool=pool), lambda same: same, stores_images=False)
"""


def test_our_engines_are_those_that_the_option_knows() -> None:
    assert tuple(ENGINES) == OUR_ENGINES


async def test_an_engine_of_somebody_else_is_found_by_its_name(install: Installs) -> None:
    install(WORKS)
    chosen = await choose(Settings(engine="theirs"), {})
    assert isinstance(chosen.make("r"), FakeEngine)
    assert (chosen.name, chosen.stores_images) == ("theirs", False)
    assert chosen.adapt(Settings(engine="theirs")).engine == "theirs"


async def test_what_an_engine_of_others_must_not_leave_out_is_refused(install: Installs) -> None:
    install(WORKS)
    chosen = await choose(Settings(engine="theirs"), {})
    with pytest.raises(SettingsError, match=r"^--runtime: the engine theirs has no such thing"):
        chosen.adapt(Settings(engine="theirs", runtime="kata"))


def test_an_engine_that_is_not_asked_for_is_not_loaded(install: Installs) -> None:
    install("raise SystemExit('loaded')")
    with pytest.raises(ValueError, match="choose auto or docker or local or swarm or theirs"):
        Settings(engine="other")
    assert Settings(engine="theirs").engine == "theirs"
    assert "their_engine_module" not in sys.modules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("x = 1", "AttributeError: module 'their_engine_module' has no attribute 'choose'"),
        ("async def choose(*_): return 1", "TypeError: it returned int in place of Chosen"),
        ("def choose(*_): return 1", "TypeError: "),
        (
            "async def choose(*_):\n    1 / 0",
            r"ZeroDivisionError: .* \(their_engine_module.py, line 2\)",
        ),
    ],
)
async def test_a_broken_one_says_whose_it_is(install: Installs, text: str, said: str) -> None:
    install(text)
    with pytest.raises(SettingsError, match=f"theirs of theirs-engine 1.2 does not work here: {said}") as caught:
        await choose(Settings(engine="theirs"), {})
    assert "their_engine_module:choose" in caught.value.remedy


async def test_its_own_words_are_passed_on(install: Installs) -> None:
    install("from tmpnb_py.core.errors import EngineError\nasync def choose(*_): raise EngineError('no cluster')")
    with pytest.raises(EngineError, match=r"^no cluster$"):
        await choose(Settings(engine="theirs"), {})


async def test_two_of_one_name_are_one_too_many(install: Installs) -> None:
    install(WORKS)
    install(WORKS, package="another", module="another_engine_module")
    with pytest.raises(SettingsError, match=r"is of more than one package: .*another 1\.2"):
        await choose(Settings(engine="theirs"), {})


async def test_one_that_was_removed_since_is_said_to_be_gone() -> None:
    with pytest.raises(SettingsError, match="theirs is of no package that is installed"):
        await choose(Settings.model_construct(engine="theirs"), {})
