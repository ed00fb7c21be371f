"""`config`: what is in force, from where, and a file that loads back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tmpnb_py.cli.main import cli
from tmpnb_py.options.declaration import Tables
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import load_settings


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    for variable in ("TMPNB_CONFIG", "ADMIN_AUTH_TOKEN", "API_AUTH_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


def _config(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["config", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


TOP = [name for name, option in OPTIONS.items() if option.tables is not Tables.ONLY]


def test_every_option_with_its_value_and_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "t.toml"
    config.write_text('pool_size = 3\nmem_limit = "1g"\ncull_max = "2h"\n')
    monkeypatch.setenv("TMPNB_MEM_LIMIT", "2g")
    rows = dict(line.split(maxsplit=1) for line in _config("--config", str(config), "--cull-max=3h").splitlines())
    assert list(rows) == ["option", *TOP]
    assert rows["pool_size"].split(maxsplit=1) == ["3", f"pool_size in {config}"]
    assert rows["mem_limit"].split(maxsplit=1) == ["2g", "TMPNB_MEM_LIMIT"]
    assert rows["cull_max"].split(maxsplit=1) == ["3h", "--cull-max"]
    assert rows["ip"].split(maxsplit=1) == ["0.0.0.0", "default"]


def test_as_json_and_no_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_AUTH_TOKEN", "hidden0hidden")
    text = _config("--json", "--trusted-proxies=127.0.0.1,10.0.0.0/8")
    found = json.loads(text)
    assert list(found) == TOP
    assert found["admin_auth_token"] == {"value": "set", "origin": "ADMIN_AUTH_TOKEN"}
    assert found["trusted_proxies"]["value"] == ["127.0.0.1/32", "10.0.0.0/8"]
    assert found["pool_size"] == {"value": 10, "origin": "default"}
    assert found["use_tokens"]["value"] is True
    assert found["max_containers"]["value"] is None
    assert "hidden" not in text + _config() + _config("--template")


def test_json_and_template_exclude_each_other() -> None:
    assert CliRunner().invoke(cli, ["config", "--json", "--template"]).exit_code == 2


def test_the_template_names_every_option_with_its_meaning() -> None:
    text = _config("--template")
    squeezed = "".join(text.replace("# ", "").split())
    for option in map(OPTIONS.__getitem__, TOP):
        assert f"# {option.name} = " in text
        assert "".join(option.description.split()) in squeezed


def _uncommented(text: str) -> str:
    """The template with every value in force, but those of options that have none."""
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    names = [line for line in lines if line.partition(" = ")[0] in OPTIONS]
    return "\n".join(line for line in names if "# if omitted" not in line)


def test_the_template_loads_back_as_the_defaults(tmp_path: Path) -> None:
    text = _config("--template")
    assert tomllib.loads(text) == {}
    config = tmp_path / "t.toml"
    config.write_text(_uncommented(text))
    assert load_settings({}, {}, str(config)) == Settings()


CHOSEN: dict[str, Any] = {
    "pool_size": "7",
    "command": 'start "{base_path}" \\ {port} é',
    "trusted_proxies": "::1,10.0.0.0/8",
    "cull_timeout": "1h30m",
    "mem_limit": "1536m",
    "use_tokens": "false",
    "host_directories": "/home/data:/data:ro",
    "extra_hosts": "data:10.0.0.1",
    "allow_origin": "https://example.org",
}


def test_a_template_of_chosen_values_loads_back_as_those(tmp_path: Path) -> None:
    given = {name: value for name, value in CHOSEN.items() if name in OPTIONS}
    text = _config("--template", *(f"--{name}={value}" for name, value in given.items()))
    config = tmp_path / "t.toml"
    config.write_text(text)
    assert set(tomllib.loads(text)) == set(given)
    assert load_settings({}, {}, str(config)) == load_settings(given, {})
