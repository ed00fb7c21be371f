"""tmpnb's options that are none here: each is accepted, and says in one line what replaces it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.options.settings import OPTIONS
from tmpnb_py.options.sources import read_settings
from tmpnb_py.options.tmpnb import LEGACY

# Every option of tmpnb's orchestrate.py, as its help named them, and those that its documentation's start lines use.
TMPNB = [
    "admin_ip",
    "admin_port",
    "allow_credentials",
    "allow_headers",
    "allow_methods",
    "allow_origin",
    "assert_hostname",
    "command",
    "container_ip",
    "container_port",
    "container_user",
    "cpu_quota",
    "cpu_shares",
    "cull_max",
    "cull_period",
    "cull_timeout",
    "docker_network",
    "docker_version",
    "expose_headers",
    "extra_hosts",
    "host_directories",
    "host_network",
    "image",
    "ip",
    "ipython_executable",
    "logging",
    "max_age",
    "max_dock_workers",
    "mem_limit",
    "pool_name",
    "pool_size",
    "port",
    "redirect_uri",
    "static_files",
    "use_tokens",
    "user_length",
]


def test_each_of_tmpnbs_options_is_accepted() -> None:
    assert not set(TMPNB) - OPTIONS.keys() - LEGACY.keys()
    assert {old.becomes for old in LEGACY.values()} - {""} <= OPTIONS.keys()


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("max_dock_workers", "4", "--max-dock-workers is called start_concurrency here."),
        ("logging", "debug", "--logging is called log_level here."),
        (
            "cull_period",
            "600",
            "--cull-period is not needed: cull_timeout is kept to the second, and each claim refills the pool.",
        ),
        ("static_files", "/srv/x", "--static-files is not needed: nothing has to be copied out of the image."),
        (
            "docker_version",
            "auto",
            "--docker-version is not needed: the version of the engine's API is negotiated.",
        ),
        (
            "assert_hostname",
            "true",
            "--assert-hostname is not needed: set DOCKER_TLS_VERIFY=1, and the engine's name is always verified.",
        ),
        ("ipython_executable", "ipython3", "--ipython-executable is not needed: name the program in command."),
    ],
)
def test_what_is_said(name: str, value: str, warning: str, tmp_path: Path) -> None:
    assert read_settings({name: value}, {}).warnings == (warning,)
    variable = f"TMPNB_{name.upper()}"
    assert read_settings({}, {variable: value}).warnings == (
        warning.replace(f"--{name.replace('_', '-')}", variable),
    )
    config = tmp_path / "tmpnb.toml"
    config.write_text(f'{name} = "{value}"')
    (written,) = read_settings({}, {}, str(config)).warnings
    assert written.startswith(f"{name} in {config} is ")


def test_what_has_another_name_keeps_its_meaning() -> None:
    loaded = read_settings({"max_dock_workers": "4", "logging": "none"}, {})
    assert (loaded.settings.start_concurrency, loaded.settings.log_level) == (4, "error")
    assert loaded.origins == {"start_concurrency": "--max-dock-workers", "log_level": "--logging"}
    # The name that it has here wins, wherever both stand; the command line wins over the environment.
    for given in (
        {"max_dock_workers": "4", "start_concurrency": "5"},
        {"start_concurrency": "5", "max_dock_workers": "4"},
    ):
        assert read_settings(given, {}).settings.start_concurrency == 5
    environ = {"TMPNB_START_CONCURRENCY": "6"}
    assert read_settings({"max_dock_workers": "4"}, environ).settings.start_concurrency == 4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_dock_workers", "0", '--max-dock-workers: "0" is too small: give at least 1'),
        ("max_dock_workers", "many", '--max-dock-workers: "many" is not a whole number'),
        ("logging", "loud", '--logging: "loud" is not among its values'),
        ("user_length", "x", '--user-length: "x" is not a whole number'),
        ("user_length", "-1", '--user-length: "-1" is too small: give at least 25'),
        ("user_length", "65", '--user-length: "65" is too large: give at most 64'),
    ],
)
def test_a_wrong_value_is_said_under_the_name_it_was_written_with(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({name: value}, {})
    assert caught.value.message.startswith(message)


def test_short_ids_are_raised() -> None:
    loaded = read_settings({"user_length": "12"}, {})
    assert loaded.settings.user_length == 25
    assert loaded.warnings == ("--user-length: 12 is raised to 25, as shorter ids could be guessed.",)
    assert read_settings({"user_length": "25"}, {}).warnings == ()


def test_the_separate_proxys_variables_are_not_needed() -> None:
    environ = {"CONFIGPROXY_ENDPOINT": "http://127.0.0.1:8001", "CONFIGPROXY_AUTH_TOKEN": "secret", "OTHER": "x"}
    assert read_settings({}, environ).warnings == (
        "CONFIGPROXY_AUTH_TOKEN in the environment is not needed: the proxy is part of this program.",
        "CONFIGPROXY_ENDPOINT in the environment is not needed: the proxy is part of this program.",
    )


def test_either_variable_sets_the_apis_token() -> None:
    assert read_settings({}, {"API_AUTH_TOKEN": "a"}).settings.api_auth_token.get_secret_value() == "a"
    both = read_settings({}, {"API_AUTH_TOKEN": "a", "TMPNB_API_AUTH_TOKEN": "b"})
    assert both.settings.api_auth_token.get_secret_value() == "b"
    assert both.origins == {"api_auth_token": "TMPNB_API_AUTH_TOKEN"}
