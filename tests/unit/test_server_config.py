"""The notebook server's configuration: which of JupyterLab's files come from where all notebooks share them."""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Application, Config

SOURCE = Path(__file__).parents[2] / "workshop_image" / "etc" / "jupyter_server_config.py"
SHARED = "/static/0123"
REQUEST = types.SimpleNamespace(headers={}, protocol="https")
HANDLER = types.SimpleNamespace(base_url="/user/a/", request=REQUEST)
PAGE = {
    "fullStaticUrl": "/user/a/static/lab",
    "fullLabextensionsUrl": "/user/a/lab/extensions",
    "themesUrl": "/lab/api/themes",
}
ALL_SHARED = {
    "fullStaticUrl": f"{SHARED}/static/lab",
    "fullLabextensionsUrl": f"{SHARED}/lab/extensions",
    "themesUrl": f"../../{SHARED[1:]}/lab/api/themes",
}
OWN_EXTENSIONS = {**PAGE, "fullStaticUrl": f"{SHARED}/static/lab"}


@pytest.fixture
def extensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("TMPNB_STATIC_URL", SHARED)
    monkeypatch.setattr(sys, "path", sys.path[:])
    directory = tmp_path / "labextensions"
    (directory / "@jupyterlab" / "theme").mkdir(parents=True)
    return directory


def load() -> Any:
    """The configuration as Jupyter reads it; returns what becomes of a page's addresses."""
    config = Config()
    names = {"get_config": lambda: config, "__file__": str(SOURCE)}
    exec(compile(SOURCE.read_text(), SOURCE, "exec"), names)
    assert config.FileContentsManager.delete_to_trash is False  # the last line
    hook = config.ServerApp.tornado_settings["page_config_hook"]
    return lambda: hook(HANDLER, dict(PAGE))


def test_messages_that_are_not_logged_are_not_made(extensions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JupyterLab does it: of two applications in one process, both log what is to be seen."""
    config = Config()
    exec(compile(SOURCE.read_text(), SOURCE, "exec"), {"get_config": lambda: config, "__file__": str(SOURCE)})
    apps = [type(name, (Application,), {"config_file": None})(config=config) for name in ("LabApp", "ServerApp")]
    for app in apps:
        app.log.warning("seen")
        assert not app.log.isEnabledFor(logging.INFO)
        app.close_handlers()
    assert capsys.readouterr().err.count("seen") == 2


def test_all_are_shared_until_the_visitor_installs_an_extension(extensions: Path) -> None:
    addresses = load()
    assert addresses() == ALL_SHARED
    (extensions / "@jupyterlab" / "another").mkdir()
    assert addresses() == OWN_EXTENSIONS


def test_under_a_host_of_its_own_a_page_shares_with_those_under_others(
    extensions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = load()
    monkeypatch.setitem(REQUEST.headers, "X-Tmpnb-Static-Host", "tmpnb-static.nb.example.net")
    shared = f"https://tmpnb-static.nb.example.net{SHARED}"
    assert addresses()["fullStaticUrl"] == f"{shared}/static/lab"
    assert addresses()["fullLabextensionsUrl"] == f"{shared}/lab/extensions"


def test_an_extension_that_is_replaced_is_another_one(extensions: Path) -> None:
    addresses = load()
    (extensions / "@jupyterlab" / "theme" / "package.json").touch()
    assert addresses() == OWN_EXTENSIONS


@pytest.mark.parametrize("at", ["start", "page"])
def test_a_directory_that_cannot_be_read_costs_no_more_than_the_sharing(
    extensions: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def refused(path: Path, pattern: str) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    if at == "page":
        addresses = load()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "glob", refused)
        if at == "start":
            addresses = load()
        assert addresses() == OWN_EXTENSIONS
    assert addresses() == (OWN_EXTENSIONS if at == "start" else ALL_SHARED)
