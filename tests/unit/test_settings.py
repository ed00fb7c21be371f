"""Units, every option's checks with their messages, and which source wins."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from tmpnb_py.core.errors import EngineDownError, SettingsError
from tmpnb_py.core.models import Egress
from tmpnb_py.core.units import GIB, KIB, MIB, format_duration, format_size, parse_duration, parse_size
from tmpnb_py.options.declaration import Tables
from tmpnb_py.options.kinds import Kind, format_value
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import choose_engine, load_settings, need_docker, read_settings


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", MIB),
        ("64k", 64 * KIB),
        ("512m", 512 * MIB),
        ("512M", 512 * MIB),
        ("512MB", 512 * MIB),
        ("512MiB", 512 * MIB),
        ("512mib", 512 * MIB),
        ("1.5g", GIB + GIB // 2),
        (" 2 g ", 2 * GIB),
        ("1t", 1024 * GIB),
        ("100b", 100),
        ("0.3k", 307),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "-1m",
        "+1m",
        "1x",
        "1mm",
        "1 000",
        "1,5g",
        "1e3",
        "inf",
        "1g2m",
        "٣m",
        "9" * 5000,
        ".5g",
        "1.g",
    ],
)
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write a number and k, m or g, such as 512m"):
        parse_size(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (1023, "1023"), (KIB, "1k"), (1536 * MIB, "1536m"), (2 * GIB, "2g")],
)
def test_written_sizes(value: int, text: str) -> None:
    assert format_size(value) == text


@given(st.integers(0, 2**49))
def test_sizes_round_trip(value: int) -> None:
    assert parse_size(format_size(value)) == value


@given(st.integers(0, 10**6), st.sampled_from("kmgt"), st.sampled_from(["", "b", "B", "ib", "iB"]))
def test_spellings_of_a_unit_are_one(count: int, unit: str, ending: str) -> None:
    assert parse_size(f"{count}{unit}") == parse_size(f"{count}{unit.upper()}{ending}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1H 30M", 5400),
        ("500ms", 0.5),
        ("1s500ms", 1.5),
        ("0.5h", 1800),
        (" 2m ", 120),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "-1s", "+1", "1x", "30m1h", "1h1h", "1 2", "1e3", "nan", "inf", "9" * 5000, "1:30", "1w"],
)
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and ms, s, m, h or d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (0.5, "500ms"),
        (10.0, "10s"),
        (75, "1m15s"),
        (5400, "1h30m"),
        (86400, "1d"),
        (1.5, "1.5s"),
    ],
)
def test_written_durations(value: float, text: str) -> None:
    assert format_duration(value) == text


@given(st.integers(0, 10**12).map(lambda nanoseconds: nanoseconds / 10**9))
def test_durations_round_trip(value: float) -> None:
    assert parse_duration(format_duration(value)) == value


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_message(text: str) -> None:
    for parse in (parse_size, parse_duration):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


def test_defaults() -> None:
    settings = Settings()
    assert (settings.ip, settings.port, settings.admin_ip, settings.admin_port) == (
        "0.0.0.0",
        8000,
        "127.0.0.1",
        10000,
    )
    assert (settings.pool_size, settings.max_containers, settings.start_concurrency) == (10, None, None)
    assert (settings.mem_limit, settings.cpu_quota, settings.pids_limit) == (512 * MIB, 50000, 256)
    assert (settings.cull_timeout, settings.cull_disconnected, settings.cull_busy) == (3600, 900, 3600)
    assert (settings.cull_unvisited, settings.cull_max, settings.ready_max_age) == (300, 14400, 86400)
    assert (settings.use_tokens, settings.cleanup_on_exit) == (True, False)
    assert (settings.egress, settings.transport, settings.engine) == (Egress.NONE, "auto", "auto")
    assert (settings.starts_at_once(6), settings.starts_at_once(0)) == (6, 1)


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_the_default_written_by_hand_is_the_default(option: Any) -> None:
    value = getattr(Settings(), option.name)
    if value is None or option.kind is Kind.SECRET or value == () or option.tables is Tables.ONLY:
        return
    assert getattr(load_settings({option.name: format_value(option.kind, value)}, {}), option.name) == value


def test_settings_do_not_change_and_know_no_other_names() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1
    with pytest.raises(ValidationError):
        Settings(pool_sise=3)  # type: ignore[call-arg]


def test_settings_that_are_built_directly_do_not_look_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPNB_PORT", "9999")
    assert Settings().port == 8000


def _toml(tmp_path: Path, text: str) -> str:
    path = tmp_path / "tmpnb.toml"
    path.write_text(text)
    return str(path)


def test_command_line_over_environment_over_file_over_default(tmp_path: Path) -> None:
    config = _toml(tmp_path, "port = 1\nadmin_port = 2\npool_size = 3\nmem_limit = '64m'\n")
    environ = {"TMPNB_PORT": "11", "TMPNB_ADMIN_PORT": "12", "TMPNB_CULL_MAX": "2h"}
    loaded = read_settings({"port": "21"}, environ, config)
    settings = loaded.settings
    assert (settings.port, settings.admin_port, settings.pool_size) == (21, 12, 3)
    assert (settings.mem_limit, settings.cull_max, settings.max_wait) == (64 * MIB, 7200, 60)
    assert loaded.origins == {
        "port": "--port",
        "admin_port": "TMPNB_ADMIN_PORT",
        "cull_max": "TMPNB_CULL_MAX",
        "pool_size": f"pool_size in {config}",
        "mem_limit": f"mem_limit in {config}",
    }
    assert loaded.warnings == ()


def test_the_file_named_on_the_command_line_wins(tmp_path: Path) -> None:
    config = _toml(tmp_path, "port = 1")
    assert load_settings({}, {"TMPNB_CONFIG": config}).port == 1
    assert load_settings({}, {"TMPNB_CONFIG": "/nowhere"}, config).port == 1
    assert load_settings({}, {"TMPNB_CONFIG": ""}).port == 8000


def test_numbers_and_lists_in_the_file(tmp_path: Path) -> None:
    config = _toml(
        tmp_path,
        """
        mem_limit = 1073741824
        cull_max = 90
        max_wait = 1.5
        use_tokens = false
        trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
        runtime_dir = "/run/x"
        """,
    )
    settings = load_settings({}, {}, config)
    assert (settings.mem_limit, settings.cull_max, settings.max_wait) == (GIB, 90, 1.5)
    assert settings.use_tokens is False
    assert settings.trusted_proxies == (
        ipaddress.ip_network("127.0.0.1/32"),
        ipaddress.ip_network("10.0.0.0/8"),
    )
    assert settings.runtime_path == Path("/run/x")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        (
            "trusted_proxies",
            " 127.0.0.1, ::1 ",
            (ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("::1")),
        ),
        ("trusted_proxies", "", ()),
        ("ip", "::", "::"),
        ("ip", "localhost", "localhost"),
        ("ip", "a-b.example.org", "a-b.example.org"),
        ("port", "0", 0),
        ("use_tokens", "no", False),
        ("use_tokens", "False", False),
        ("use_tokens", "1", True),
        ("use_tokens", True, True),
        ("egress", "internet", Egress.INTERNET),
        ("egress", "web", Egress.WEB),
        ("egress_ports", "443,8443", (443, 8443)),
        ("notebook_ca_bundle", "/etc/ssl/all.pem", "/etc/ssl/all.pem"),
        ("cull_max", "0", 0),
        ("cpu_quota", "0", 0),
        ("pids_limit", "0", 0),
        ("max_containers", "10", 10),
        ("image", "registry.example.org:5000/a/b:c@sha256:00", "registry.example.org:5000/a/b:c@sha256:00"),
        ("command", "sh -c 'echo ${HOME} {x}' {port}", "sh -c 'echo ${HOME} {x}' {port}"),
        ("runtime_dir", "relative", Path.cwd() / "relative"),
        ("runtime_dir", "~/x", Path.home() / "x"),
    ],
)
def test_what_is_understood(name: str, text: str | bool, value: object) -> None:
    assert getattr(load_settings({name: text}, {}), name) == value


def test_an_empty_variable_is_an_unset_one() -> None:
    assert load_settings({}, {"TMPNB_PORT": "", "TMPNB_COMMAND": ""}) == Settings()


def test_either_variable_sets_the_admin_token() -> None:
    assert load_settings({}, {"ADMIN_AUTH_TOKEN": "a"}).admin_auth_token == SecretStr("a")
    both = read_settings({}, {"ADMIN_AUTH_TOKEN": "a", "TMPNB_ADMIN_AUTH_TOKEN": "b"})
    assert both.settings.admin_auth_token == SecretStr("b")
    assert both.origins["admin_auth_token"] == "TMPNB_ADMIN_AUTH_TOKEN"
    assert "'b'" not in repr(both)


def _message(given: Mapping[str, str | bool], environ: Mapping[str, str], config: str | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(given, environ, config)
    assert "--help" in caught.value.remedy
    assert caught.value.__cause__ is None
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ip", "", '"" is neither an IP address nor a host name: 0.0.0.0 is all of IPv4'),
        ("ip", "*", '"*" is neither an IP address nor a host name'),
        ("ip", "999.1.1.1", '"999.1.1.1" is neither an IP address nor a host name'),
        ("admin_ip", "[::1]", '"[::1]" is neither an IP address nor a host name'),
        ("port", "http", '"http" is not a whole number'),
        ("port", "65536", '"65536" is too large: give at most 65535'),
        ("port", "-1", '"-1" is too small: give at least 0'),
        ("port", "80.0", '"80.0" is not a whole number'),
        ("port", "", '"" is not a whole number'),
        ("admin_port", "8000", '"8000" is the visitors\' port too: give the admin listener another one'),
        ("admin_auth_token", "top secret", "the value travels in a header: use visible ASCII characters"),
        ("engine", "podman", '"podman" is not among its values: choose auto or docker or local or swarm'),
        ("image", "", '"" is not the name of an image: write one such as tmpnb-py-workshops:latest'),
        ("image", "--rm", '"--rm" is not the name of an image'),
        ("image", "a b", '"a b" is not the name of an image'),
        ("command", " ", '" " is not a command: leave the option out'),
        ("command", "x {socket} {port}", '"x {socket} {port}" has both {socket} and {port}: keep the one'),
        ("transport", "tcp", '"tcp" is not among its values: choose auto or socket or port or address'),
        ("egress", "all", '"all" is not among its values: choose none or web or internet'),
        ("egress_allow", "10.0.0.0/8", '"10.0.0.0/8" opens nothing while egress is none: add egress web or internet'),
        ("egress_hosts", "pypi.org", '"pypi.org" is checked by the web proxy: add egress web'),
        ("egress_hosts", "https://pypi.org/", 'holds "https://pypi.org/", which is no host: write pypi.org,'),
        ("egress_ports", "0", 'holds "0", which is no port: write 80,443'),
        ("egress_ports", "https", 'holds "https", which is no port'),
        ("egress_connections", "0", '"0" is too small: give at least 1'),
        ("egress_rate", "1", '"1" is too small: give at least 1k, or 0 for no limit'),
        ("notebook_ca_bundle", "ca.pem", '"ca.pem" is not the absolute path of a file'),
        ("egress_allow", "example.org", 'holds "example.org", which is not an address or network'),
        ("accept_missing", "network,cpu", 'holds "cpu", which is no protection: choose among network, privileges'),
        ("mem_limit", "lots", '"lots" is not a size: write a number and k, m or g, such as 512m'),
        ("mem_limit", "63m", '"63m" is too small: give at least 64m'),
        ("mem_limit", "65t", '"65t" is too large: give at most 64t'),
        ("home_size", "0", '"0" is too small: give at least 1m'),
        ("cpu_quota", "999", '"999" is too small: give at least 1000, or 0 for no limit'),
        ("cpu_quota", "0.5", '"0.5" is not a whole number'),
        ("pids_limit", "3", '"3" is too small: give at least 32, or 0 for no limit'),
        ("use_tokens", "maybe", '"maybe" is neither true nor false'),
        ("use_tokens", "", '"" is neither true nor false'),
        ("pool_name", "My Pool", '"My Pool" is not a pool\'s name: use 1 to 32 of a-z, 0-9, - and _'),
        ("pool_name", "a" * 33, "is not a pool's name"),
        ("pool_name", "a\n", "is not a pool's name"),
        ("pool_size", "-1", '"-1" is too small: give at least 0'),
        ("pool_size", "1e2", '"1e2" is not a whole number'),
        ("max_containers", "9", '"9" is below pool_size, which is 10: raise it, or lower pool_size'),
        ("start_concurrency", "0", '"0" is too small: give at least 1'),
        ("start_timeout", "0", '"0" is too small: give at least 100ms'),
        ("start_timeout", "1 hour", '"1 hour" is not a duration: write a number and ms, s, m, h or d'),
        ("cull_timeout", "10ms", '"10ms" is too small: give at least 100ms, or 0 for never'),
        ("cull_max", "3651d", '"3651d" is too large: give at most 3650d'),
        ("max_wait", "2h", '"2h" is too large: give at most 1h'),
        ("trusted_proxies", "nginx", 'holds "nginx", which is not an address or network: write 127.0.0.1'),
        ("trusted_proxies", "10.1.2.3/8", "ambiguous: write 10.1.2.3 for the one or 10.0.0.0/8 for all"),
        ("max_head_size", "1k", '"1k" is too small: give at least 4k'),
        ("log_format", "xml", '"xml" is not among its values: choose auto or console or json'),
        ("log_level", "loud", '"loud" is not among its values: choose debug or info or warning or error'),
        ("runtime_dir", "", '"" is not a directory: write its path'),
        ("runtime_dir", "~nosuchuser/x", "begins with a home directory that is not known"),
    ],
)
def test_what_is_refused(name: str, text: str, message: str) -> None:
    shown = _message({name: text}, {})
    assert shown.startswith(f"{OPTIONS[name].flag}: ")
    assert message in shown
    assert "secret" not in shown
    if text and name != "engine":
        assert _message({}, {OPTIONS[name].variable: text}).startswith(f"{OPTIONS[name].variable}: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pool_size = true", '"true" is not a whole number'),
        ("pool_size = 1.5", '"1.5" is not a whole number'),
        ("mem_limit = -1", '"-1" is not a size'),
        ("mem_limit = 1.5", '"1.5" is not a whole number'),
        ("cull_max = nan", '"nan" is not a duration'),
        ("cull_max = inf", '"inf" is too large: give at most 3650d'),
        ("cull_max = [1]", '"[1]" is not a duration'),
        ("cull_max = 07:30:00", "is not a duration"),
        ("image = 5", '"5" is not text: write it in quotes, such as image = "…"'),
        ("command = [1]", '"[1]" is not text'),
        ("use_tokens = 7", '"7" is neither true nor false'),
        ("log_level = 1", '"1" is not among its values'),
        ("egress = 1", '"1" is not among its values: choose none or web or internet'),
        ("trusted_proxies = 5", '"5" is not a list: write 127.0.0.1,10.0.0.0/8'),
        ("trusted_proxies = [5]", 'holds "5", which is not an address or network'),
        ("runtime_dir = 5", '"5" is not a path'),
        ("admin_auth_token = 5", "the value is not text"),
    ],
)
def test_what_is_refused_in_a_file(tmp_path: Path, line: str, message: str) -> None:
    config = _toml(tmp_path, line)
    shown = _message({}, {}, config)
    assert shown.startswith(f"{line.split(maxsplit=1)[0]} in {config}: ")
    assert message in shown


def test_everything_wrong_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    config = _toml(tmp_path, "pool_sise = 3\nmem-limit = '1g'\ncpu_quota = 1\nzzz = 1\n")
    environ = {"TMPNB_PORT": "x", "TMPNB_MAX_CONTAINERS": "1"}
    assert _message({"cull_max": "soon"}, environ, config).splitlines() == [
        "7 settings are wrong:",
        '  --cull-max: "soon" is not a duration: write a number and ms, s, m, h or d, such as 90s or 1h30m',
        '  TMPNB_MAX_CONTAINERS: "1" is below pool_size, which is 10: raise it, or lower pool_size',
        '  TMPNB_PORT: "x" is not a whole number',
        f'  cpu_quota in {config}: "1" is too small: give at least 1000, or 0 for no limit',
        f"  mem-limit in {config}: there is no such option; did you mean mem_limit?",
        f"  pool_sise in {config}: there is no such option; did you mean pool_size?",
        f"  zzz in {config}: there is no such option",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pool_size = ", "is not valid TOML: Invalid value"),
        (b"pool_size: 10", "is not valid TOML: Expected '='"),
        (b"\xff\xfe", "is not valid TOML: it is not UTF-8 text"),
        (b"[pool]\nsize = 1", "there is no such option"),
    ],
)
def test_a_broken_file(tmp_path: Path, content: bytes, message: str) -> None:
    config = tmp_path / "tmpnb.toml"
    config.write_bytes(content)
    shown = _message({}, {}, str(config))
    assert message in shown
    assert str(config) in shown


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "no.toml")
    assert _message({}, {}, missing) == (
        f'--config: "{missing}" cannot be read (No such file or directory): '
        "give the path of a TOML file that this user may read"
    )
    assert _message({}, {"TMPNB_CONFIG": missing}).startswith("TMPNB_CONFIG: ")
    assert "it is not a regular file" in _message({}, {}, str(tmp_path))
    assert "it is not a regular file" in _message({}, {}, "")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    config = _toml(tmp_path, "port = 1")
    with monkeypatch.context() as patch:  # either way to open it is some version's of pydantic-settings
        patch.setattr(Path, "open", refuse)
        patch.setattr("builtins.open", refuse)
        message = _message({}, {}, config)
    assert "cannot be read (Permission denied)" in message


def test_the_transport_has_to_fit_the_command() -> None:
    wrong = _message({"command": "x {port}", "transport": "socket"}, {})
    assert wrong == '--transport: "socket" does not fit a command with {port}: use {socket} in it, or transport auto'
    assert "{socket}" in _message({"command": "x {socket}", "transport": "port"}, {})
    assert load_settings({"command": "x {port}", "transport": "port"}, {}).transport == "port"


def test_one_port_twice_is_fine_on_different_addresses() -> None:
    assert load_settings({"ip": "10.0.0.1", "admin_port": "8000"}, {}).admin_port == 8000
    assert load_settings({"port": "0", "admin_port": "0"}, {}).admin_port == 0


def test_control_characters_and_long_values_are_not_echoed() -> None:
    assert "\x1b" not in _message({"ip": "\x1b[31m"}, {})
    assert len(_message({"ip": "x y" * 1000}, {})) < 300


def test_a_slip_in_the_environment_is_a_warning() -> None:
    environ = {"TMPNB_POOLSIZE": "3", "TMPNB_CONFIG": "", "tmpnb_port": "7", "TMPNBX": "1", "TMPNB_QQQ": "1"}
    loaded = read_settings({}, environ)
    assert loaded.settings.port == 7
    ignored = "in the environment is ignored: there is no such option"
    assert loaded.warnings == (
        f"TMPNB_POOLSIZE {ignored}; did you mean TMPNB_POOL_SIZE?",
        f"TMPNB_QQQ {ignored}",
    )


def test_what_is_risky_is_a_warning() -> None:
    (warning,) = read_settings({"admin_ip": "0.0.0.0"}, {}).warnings
    assert "answers only this machine's loopback address" in warning
    assert not read_settings({"admin_ip": "0.0.0.0"}, {"ADMIN_AUTH_TOKEN": "x"}).warnings
    assert not read_settings({"admin_ip": "localhost"}, {}).warnings
    assert "admin.example.org" in read_settings({"admin_ip": "admin.example.org"}, {}).warnings[0]
    assert "any visitor can forge" in read_settings({"trusted_proxies": "0.0.0.0/0"}, {}).warnings[0]


def test_the_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Settings().runtime_path == Path("/run/tmpnb-py")
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1234")
    assert Settings().runtime_path == Path("/run/user/1234/tmpnb-py")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert Settings().runtime_path == Path("/tmp/tmpnb-py-1234")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert Settings().runtime_path == Path("/tmp/tmpnb-py-1234")


def test_the_runtime_directory_that_is_this_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command that the service's own user types finds the service's directory."""
    monkeypatch.setattr("tmpnb_py.options.groups.service._SYSTEM_DIRECTORY", tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1234")
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    assert Settings().runtime_path == Path("/run/user/1234/tmpnb-py")
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid)
    assert Settings().runtime_path == tmp_path


def test_room_for_files_in_memory_follows_the_limit() -> None:
    assert (Settings().tmp_bytes, Settings().shm_bytes) == (256 * MIB, 256 * MIB)
    large = load_settings({"mem_limit": "4g", "shm_size": "3g"}, {})
    assert (large.tmp_bytes, large.shm_bytes) == (2048 * MIB, 3072 * MIB)


def test_the_systems_configuration_is_read_where_no_other_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All commands find what the service was told, whoever types them."""
    system, own = tmp_path / "tmpnb-py.toml", tmp_path / "own.toml"
    monkeypatch.setattr("tmpnb_py.options.sources.SYSTEM_CONFIG", system)
    assert Settings() == read_settings({}, {}).settings
    system.write_text('pool_name = "system"\nruntime_dir = "/run/x"\n')
    own.write_text("pool_size = 1\n")
    loaded = read_settings({}, {"TMPNB_RUNTIME_DIR": "/run/y"})
    assert (loaded.settings.pool_name, loaded.settings.runtime_dir) == ("system", Path("/run/y"))
    assert loaded.origins["pool_name"] == f"pool_name in {system}"
    for other in (read_settings({}, {}, str(own)), read_settings({}, {"TMPNB_CONFIG": str(own)})):
        assert (other.settings.pool_name, other.settings.pool_size) == ("tmpnb", 1)
    system.write_text("pool_size =")
    with pytest.raises(SettingsError, match=r"the system's configuration: .* is not valid TOML"):
        read_settings({}, {})


def test_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: True)
    assert choose_engine(Settings(), {}) == "docker"
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert choose_engine(Settings(), {"DOCKER_HOST": "tcp://x:1"}) == "docker"
    assert choose_engine(Settings(engine="docker"), {}) == "docker"
    assert choose_engine(Settings(), {"DOCKER_HOST": ""}) == "local"
    assert choose_engine(Settings(engine="local"), {"DOCKER_HOST": "tcp://x:1"}) == "local"
    need_docker(Settings(), {"DOCKER_HOST": "tcp://x:1"})
    need_docker(Settings.model_construct(engine="theirs"), {})
    with pytest.raises(EngineDownError, match="no engine was found") as caught:
        need_docker(Settings(), {})
    assert "DOCKER_HOST" in caught.value.remedy
    with pytest.raises(EngineDownError, match="the local engine has no images"):
        need_docker(Settings(engine="local"), {})


def test_how_the_pages_look() -> None:
    given = {
        "accent_color": "A40",
        "site_title": " Knots ",
        "announcement": "one\ntwo ",
        "workshops_file": "~/w.toml",
    }
    settings = load_settings(given, {})
    assert (settings.accent_color, settings.site_title, settings.announcement) == ("#aa4400", "Knots", "one\ntwo")
    assert settings.workshops_file == Path("~/w.toml").expanduser()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("accent_color", "red", "is not a colour"),
        ("accent_color", "#12345", "is not a colour"),
        ("accent_color", "#fff;}body{", "is not a colour"),
        ("site_title", " ", "is not a name for the pages"),
        ("site_title", "x" * 81, "is not a name for the pages"),
        ("site_title", "a\nb", "is not a name for the pages"),
        ("announcement", "\x00", "is not text that fits a page"),
        ("privacy_notice", "x" * 20_001, "is not text that fits a page"),
        ("site_logo", " ", "is not a file"),
    ],
)
def test_what_pages_cannot_look_like(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings({name: value}, {})
