"""The command line as its user meets it: options, messages and exit codes."""

from __future__ import annotations

import asyncio
import io
import logging
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import tmpnb_py
from tmpnb_py.cli import main as cli
from tmpnb_py.cli.progress import BuildProgress
from tmpnb_py.core import errors, logs
from tmpnb_py.core.models import Egress
from tmpnb_py.core.units import MIB
from tmpnb_py.engines import registry
from tmpnb_py.options.declaration import Tables
from tmpnb_py.options.settings import OPTIONS, Settings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(OPTIONS.values()):
        monkeypatch.delenv(name.variable, raising=False)
    for variable in ("TMPNB_CONFIG", "ADMIN_AUTH_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    before = logging.getLogger().level
    yield
    structlog.reset_defaults()
    for handler in [handler for handler in logging.getLogger().handlers if isinstance(handler, logs._Handler)]:
        logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(before)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the service would have been started with."""
    served: list[Settings] = []

    async def serve(settings: Settings) -> None:
        served.append(settings)

    _install_app(monkeypatch, serve)
    return served


def _install_app(monkeypatch: pytest.MonkeyPatch, serve: Callable[[Settings], Any]) -> None:
    def serve_app(settings: Settings, reread: Callable[[], Settings], hangup: object) -> Any:
        assert reread() == settings  # what SIGHUP does
        return serve(settings)

    monkeypatch.setitem(sys.modules, "tmpnb_py.service.serve", types.SimpleNamespace(serve=serve_app))


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--version") == 0
    assert capsys.readouterr().out == f"tmpnb-py {tmpnb_py.__version__}\n"
    assert _run("--help") == 0
    assert "Exit codes: 0 done" in capsys.readouterr().out


def test_help_names_every_option_with_meaning_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("serve", "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS.values():
        if option.tables is Tables.ONLY:
            assert f"{option.flag} " not in shown
            continue
        assert f"{option.flag} " in shown
        assert option.group in shown
        # The help breaks lines within words, at their hyphens.
        squeezed = shown.replace(" ", "")
        assert option.description.replace(" ", "") in squeezed
        assert f"[default:{option.default}]".replace(" ", "") in squeezed
    assert "[auto|socket|port|address]" in shown
    assert "--no-use-tokens" in shown


def test_every_option_arrives_in_both_spellings(served: list[Settings]) -> None:
    assert _run("serve", "--pool-size", "3", "--mem-limit=1g", "--cull-max", "2h") == 0
    assert _run("serve", "--pool_size", "3", "--mem_limit=1g", "--cull_max", "2h") == 0
    assert served == [Settings(pool_size=3, mem_limit=1024 * MIB, cull_max=7200)] * 2


def test_a_shorter_way_to_open_the_network(served: list[Settings]) -> None:
    assert _run("serve", "--allow-network") == 0
    assert served == [Settings(egress=Egress.INTERNET)]


def test_values_keep_their_underscores(served: list[Settings]) -> None:
    assert _run("serve", "--pool_name", "a_b", "--image=x_y") == 0
    assert (served[0].pool_name, served[0].image) == ("a_b", "x_y")


@pytest.mark.parametrize(
    ("arguments", "use_tokens", "cleanup"),
    [
        ([], True, False),
        (["--cleanup-on-exit"], True, True),
        (["--cleanup_on_exit", "--port", "1"], True, True),
        (["--cleanup-on-exit=true"], True, True),
        (["--cleanup-on-exit=False"], True, False),
        (["--cleanup_on_exit=yes", "--no-use-tokens"], False, True),
        (["--no-cleanup-on-exit"], True, False),
        (["--no-use_tokens"], False, False),
        (["--no_use_tokens"], False, False),
        (["--use-tokens=false"], False, False),
        (["--use_tokens", "false"], False, False),
        (["--use-tokens", "--no-use-tokens"], False, False),
        (["--no-use-tokens", "--use-tokens"], True, False),
    ],
)
def test_switches(served: list[Settings], arguments: list[str], use_tokens: bool, cleanup: bool) -> None:
    assert _run("serve", *arguments) == 0
    assert (served[0].use_tokens, served[0].cleanup_on_exit) == (use_tokens, cleanup)


def test_command_line_over_environment_over_file(
    served: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "t.toml"
    config.write_text("port = 1\npool_size = 2\nmax_waiting = 3\n")
    monkeypatch.setenv("TMPNB_POOL_SIZE", "4")
    monkeypatch.setenv("TMPNB_MAX_WAITING", "5")
    assert _run("serve", "--config", str(config), "--max-waiting=6") == 0
    assert (served[0].port, served[0].pool_size, served[0].max_waiting) == (1, 4, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--pool-sise", "3"], "No such option '--pool-sise'"),
        (["serve", "--pool-sise", "3"], "'--pool-size'"),
        (["serve", "extra"], "unexpected extra argument"),
        (["serve", "--pool-size"], "requires an argument"),
        (["serve", "--no-use-tokens=1"], "does not take a value"),
        (["serv"], "No such command 'serv'"),
        (["image", "build", "--ca-bundle", "/nowhere"], "'/nowhere' does not exist"),
    ],
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert _run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_wrong_values(capsys: pytest.CaptureFixture[str], served: list[Settings]) -> None:
    assert _run("serve", "--pool_size=many", "--use-tokens=maybe") == 2
    assert not served
    assert capsys.readouterr().err == (
        "error: 2 settings are wrong:\n"
        '  --pool-size: "many" is not a whole number, nor auto\n'
        '  --use-tokens: "maybe" is neither true nor false\n'
        "  → tmpnb-py serve --help shows every option with its default and how it is written.\n"
    )


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("serve", "--config", "/nowhere") == 2
    assert 'error: --config: "/nowhere" cannot be read' in capsys.readouterr().err


def test_warnings_are_logged(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPNB_POOLSIZE", "1")
    assert _run("serve", "--log-format", "json") == 0
    assert "did you mean TMPNB_POOL_SIZE?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TmpnbError("m", remedy="r"), 1),
        (errors.SettingsError("m", remedy="r"), 2),
        (errors.EngineDownError("m", remedy="r"), 3),
        (errors.ImageMissingError("m", remedy="r"), 4),
        (errors.ListenError("m", remedy="r"), 5),
        (errors.PoolLockedError("m", remedy="r"), 6),
        (
            ExceptionGroup("tasks", [ValueError(), ExceptionGroup("", [errors.ListenError("m", remedy="r")])]),
            5,
        ),
    ],
)
def test_errors_are_words_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    async def serve(_: Settings) -> None:
        raise error

    _install_app(monkeypatch, serve)
    assert _run("serve") == code
    assert capsys.readouterr().err == "error: m\n  → r\n"


def test_no_remedy_no_arrow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(_: Settings) -> None:
        raise errors.EngineError("refused")

    _install_app(monkeypatch, serve)
    assert _run("serve") == 3
    assert capsys.readouterr().err == "error: refused\n"


def test_an_unexpected_error_shows_its_trace_without_tokens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(_: Settings) -> None:
        raise RuntimeError("/lab?token=abc123")

    _install_app(monkeypatch, serve)
    assert _run("serve") == 1
    captured = capsys.readouterr().err
    assert "Traceback" in captured
    assert "error: unexpected RuntimeError" in captured
    assert "abc123" not in captured


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_lack_of_threads_or_memory_is_nobodys_fault(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(_: Settings) -> None:
        raise ExceptionGroup("of several", [ValueError()]) from error

    _install_app(monkeypatch, serve)
    assert _run("serve") == 1
    captured = capsys.readouterr().err
    assert "TasksMax=" in captured
    assert "fault of tmpnb-py" not in captured


def test_it_runs_on_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[str] = []

    async def serve(_: Settings) -> None:
        loops.append(type(asyncio.get_running_loop()).__module__)

    _install_app(monkeypatch, serve)
    assert _run("serve") == 0
    assert loops == ["uvloop"]


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cleaned: list[bool] = []

    async def serve(_: Settings) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    _install_app(monkeypatch, serve)
    assert _run("serve") == 130
    assert cleaned == [True]
    assert "Traceback" not in capsys.readouterr().err


def test_help_loads_neither_aiohttp_nor_structlog() -> None:
    code = (
        "import sys, tmpnb_py.cli.main as c\n"
        "try: c.main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'aiohttp', 'structlog', 'aiodocker', 'uvloop'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_python_m_exits_with_the_code() -> None:
    command = [sys.executable, "-m", "tmpnb_py", "serve", "--port", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('error: --port: "x" is not a whole number\n')


class _Engine:
    def __init__(self, *, pool: str, runtime_dir: Path) -> None:
        self.made_for = (pool, runtime_dir)
        self.calls: list[str] = []

    async def open(self) -> None:
        self.calls.append("open")

    async def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[_Engine, dict[str, Any]]]:
    """What an image would have been built of."""
    built: list[tuple[_Engine, dict[str, Any]]] = []

    async def build(engine: _Engine, **options: Any) -> None:
        built.append((engine, options))
        options["report"](types.SimpleNamespace(index=1, total=2, text="FROM x", seconds=0.0))
        options["report"](types.SimpleNamespace(index=2, total=2, text="RUN [pip]\n  install", seconds=1.26))
        if options["tag"] == "broken":
            raise errors.ImageBuildError("step 2 failed", remedy="Look at it.")

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setitem(sys.modules, "tmpnb_py.images.build", types.SimpleNamespace(build=build))

    async def chosen(settings: Settings, environ: object, workshops: object) -> object:
        return types.SimpleNamespace(make=lambda pool: _Engine(pool=pool, runtime_dir=settings.runtime_path))

    monkeypatch.setitem(registry.ENGINES, "docker", chosen)
    return built


def test_image_build(
    built: list[tuple[_Engine, dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    monkeypatch.setenv("TMPNB_RUNTIME_DIR", "/run/x")
    assert _run("image", "build", "--ca-bundle", str(bundle), "--base", "debian:12", "--network=host") == 0
    ((engine, options),) = built
    assert engine.made_for == ("tmpnb", Path("/run/x"))
    assert engine.calls == ["open", "close"]
    del options["report"]
    assert options == {
        "tag": "tmpnb-py-workshops:latest",
        "target": "full",
        "base": "debian:12",
        "ca_bundle": bundle,
        "network": "host",
        "buildkit": None,
    }
    lines = capsys.readouterr().err.splitlines()
    assert lines[:-1] == ["[1/2] FROM x", "[2/2] RUN [pip] install (1.3s)"]
    assert lines[-1].startswith("built tmpnb-py-workshops:latest in ")


def test_image_build_fails(built: list[tuple[_Engine, dict[str, Any]]], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("image", "build", "--tag", "broken") == 4
    assert built[0][0].calls == ["open", "close"]
    shown = capsys.readouterr().err
    assert shown.endswith("error: step 2 failed\n  → Look at it.\n")
    assert "built" not in shown


def test_image_build_without_an_engine(
    built: list[tuple[_Engine, dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert _run("image", "build") == 3
    assert not built
    assert "error: no engine was found" in capsys.readouterr().err


def test_progress_shows_a_step_as_the_build_tells_it() -> None:
    stream = io.StringIO()
    with BuildProgress("x:1", stream) as progress:
        progress.report(types.SimpleNamespace(index=1, total=1, text="RUN sed 's|a|jovyan:x:[bold]|'", seconds=0.0))
    assert stream.getvalue() == "[1/1] RUN sed 's|a|jovyan:x:[bold]|'\nbuilt x:1 in 1s\n"


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with BuildProgress("x:1", stream) as progress:
        progress.report(types.SimpleNamespace(index=2, total=5, text="RUN pip", seconds=0.0))
        progress._bar.refresh()
    shown = stream.getvalue()
    assert "layer 2/5" in shown
    assert "RUN pip" in shown
    assert "built x:1" in shown
