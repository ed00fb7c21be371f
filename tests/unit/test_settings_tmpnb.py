"""The options that came with tmpnb's contract: how they are written, what is refused, what is only warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import Mount
from tmpnb_py.options.kinds import format_value
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import load_settings, read_settings, without_effect

_VOLUMES = ("/mnt/vol0", "/mnt/vol1", "/mnt/vol2")
_HOSTS = ("db.example.org:10.0.0.5", "six:fd00::5", "h:host-gateway")


def test_defaults() -> None:
    settings = Settings()
    assert (settings.container_ip, settings.container_port, settings.container_user) == ("127.0.0.1", 8888, "1000")
    assert (settings.docker_network, settings.host_network, settings.cpu_shares) == (None, False, 0)
    assert (settings.host_directories, settings.extra_hosts, settings.allow_origin) == ((), (), ())
    assert (settings.redirect_uri, settings.user_length, settings.max_age) == ("/lab", 26, None)
    assert settings.api_auth_token.get_secret_value() == ""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("host_directories", "/a", (Mount("/a", "/mnt/vol0"),)),
        ("host_directories", "/a/,/b:ro,/c::r", tuple(map(Mount, ["/a", "/b", "/c"], _VOLUMES, (False, True, True)))),
        ("host_directories", " /a:/x/y:ro , /b:/z ", (Mount("/a", "/x/y", read_only=True), Mount("/b", "/z"))),
        ("host_directories", "/a:/x:rw", (Mount("/a", "/x"),)),
        ("host_directories", "", ()),
        ("extra_hosts", "db.example.org:10.0.0.5, six:fd00::5,h:host-gateway", _HOSTS),
        ("extra_hosts", "six:[fd00::5]", ("six:fd00::5",)),
        ("allow_origin", "*", ("*",)),
        (
            "allow_origin",
            "HTTPS://Example.org/,http://localhost:8080",
            ("https://example.org", "http://localhost:8080"),
        ),
        ("allow_origin", "https://a.example:443,http://a.example:80", ("https://a.example", "http://a.example")),
        ("allow_origin", "http://[::1]:3000,null", ("http://[::1]:3000", "null")),
        ("allow_methods", "GET,POST, DELETE", "GET,POST, DELETE"),
        ("allow_headers", "*", "*"),
        ("expose_headers", "X-My-Header", "X-My-Header"),
        ("max_age", "10m", 600),
        ("max_age", "0", 0),
        ("allow_credentials", "true", True),
        ("container_user", "1000:100", "1000:100"),
        ("container_user", "jovyan:users", "jovyan:users"),
        ("container_ip", "::1", "::1"),
        ("docker_network", "my_net-1.x", "my_net-1.x"),
        ("runtime", "kata-fc", "kata-fc"),
        ("docker_network", "bridge", "bridge"),
        ("redirect_uri", "/notebooks/Wel come.ipynb", "/notebooks/Wel come.ipynb"),
        ("redirect_uri", "tree", "tree"),
        ("cpu_shares", "0", 0),
        ("user_length", "64", 64),
    ],
)
def test_what_is_understood(name: str, text: str, value: object) -> None:
    assert getattr(load_settings({name: text}, {}), name) == value


@pytest.mark.parametrize("name", ["host_directories", "extra_hosts", "allow_origin"])
def test_lists_are_read_as_they_are_shown(name: str) -> None:
    text = {"host_directories": "/a:/b:ro,/c", "extra_hosts": "a:1.2.3.4", "allow_origin": "*,https://a.example"}[
        name
    ]
    value = getattr(load_settings({name: text}, {}), name)
    assert getattr(load_settings({name: format_value(OPTIONS[name].kind, value)}, {}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("host_directories", "data", '"data" is not a whole path: begin it with /'),
        ("host_directories", "/a:data:ro", '"data" is not a whole path'),
        ("host_directories", "/a/../etc:/x", '"/a/../etc" is not a whole path'),
        ("host_directories", "/a:/x:rx", 'holds "/a:/x:rx", which cannot be read: write /host:/mount:ro'),
        ("host_directories", "/a:/x:ro:z", "which cannot be read"),
        ("host_directories", "/a:/", "but / belongs to the container itself: mount it elsewhere"),
        ("host_directories", "/a:/run/tmpnb/", "but /run/tmpnb belongs to the container itself"),
        ("host_directories", "/a:/x,/b:/x/", "mounts more than one directory at /x: give each a place of its own"),
        ("extra_hosts", "db", 'holds "db", which is not name:address: write db.example.org:10.0.0.5'),
        ("extra_hosts", "db:here", "which is not name:address"),
        ("extra_hosts", "a b:1.2.3.4", "which is not name:address"),
        ("tokenless_origin", "https://a.example,*", 'holds "*", which names no site: write https://example.org'),
        ("binder_spec", "org/repo=", 'holds "org/repo=", which is not a repository'),
        ("tokenless_origin", "null", "names no site"),
        (
            "frame_ancestors",
            "lms.example.org",
            "is not a site: write https://lms.example.org (scheme and host, no path)",
        ),
        ("frame_ancestors", "https://a.example/course", "is not a site"),
        ("frame_ancestors", "https://a.example; script-src *", "is not a site"),
        ("frame_ancestors", "https://a.example https://b.example", "is not a site"),
        ("frame_ancestors", "https://*", "is not a site"),
        ("frame_ancestors", "ftp://a.example", "is not a site"),
        ("frame_ancestors", "'none'", "leave the option out, and no page shows notes in a frame"),
        ("tokenless_origin", "example.org", "is not a site's origin"),
        ("allow_origin", "example.org", 'holds "example.org", which is not a site\'s origin'),
        ("allow_origin", "https://example.org/page", "write https://example.org, or * for all"),
        ("allow_origin", "https://*.example.org", "is not a site's origin"),
        ("allow_methods", "GET POST", '"GET POST" is not a list of names: write them with commas'),
        ("allow_headers", "X-A,", "is not a list of names"),
        ("expose_headers", "X-A: 1", "is not a list of names"),
        ("max_age", "2d", '"2d" is too large: give at most 1d'),
        ("allow_credentials", "perhaps", '"perhaps" is neither true nor false'),
        ("container_ip", "localhost", '"localhost" is not an IP address: 127.0.0.1 lets only this machine in'),
        ("container_port", "0", '"0" is too small: give at least 1'),
        ("container_port", "65536", '"65536" is too large: give at most 65535'),
        ("container_user", "", '"" is not a user: write a number or a name of the image'),
        ("container_user", "1000:", "is not a user"),
        ("container_user", "Jo", "is not a user"),
        ("docker_network", "host", "is not a network that containers are reached on: use host_network"),
        ("docker_network", "none", "is not a network that containers are reached on: leave the option out"),
        ("runtime", "--x", '"--x" is not the name of a runtime: docker info shows them'),
        ("docker_network", "container:x", '"container:x" is not the name of a network: docker network ls shows them'),
        (
            "host_network",
            "true",
            '"true" would let every notebook use the admin listener: set ADMIN_AUTH_TOKEN first',
        ),
        ("transport", "address", '"address" needs a network to reach containers on: name one with docker_network'),
        (
            "redirect_uri",
            "https://evil.example/",
            '"https://evil.example/" cannot be opened in a notebook: the path must',
        ),
        ("redirect_uri", "/tree/../..", 'cannot be opened in a notebook: the path must not have "."'),
        ("redirect_uri", "/admin", "nbclassic or git-pull; interfaces names more"),
        ("interfaces", "voila,a/b", 'holds "a/b", which is not the first part of a path: write rstudio,voila'),
        ("interfaces", "..", 'holds "..", which is not'),
        ("cpu_shares", "1", '"1" is too small: give at least 2, or 0 for the engine\'s default'),
        ("user_length", "66", '"66" is too large: give at most 64'),
        ("api_auth_token", "my secret", "the value travels in a header: use visible ASCII characters"),
    ],
)
def test_what_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: text}, {})
    assert caught.value.message.startswith(f"{OPTIONS[name].flag}: ")
    assert message in caught.value.message
    assert "secret" not in caught.value.message


def test_a_notebook_may_open_in_an_interface_that_is_named() -> None:
    settings = load_settings({"redirect_uri": "/rstudio/", "interfaces": "/voila/,rstudio/"}, {})
    assert (settings.redirect_uri, settings.interfaces) == ("/rstudio/", ("voila", "rstudio"))


@pytest.mark.parametrize(
    ("together", "message"),
    [
        ({"host_network": "true", "docker_network": "x"}, "does not go with docker_network: choose one of them"),
        ({"host_network": "true", "transport": "port"}, "does not fit host_network, where containers have no ports"),
        (
            {"docker_network": "x", "transport": "address", "command": "x {socket}"},
            '"address" does not fit a command with {socket}: use {port} in it, or transport auto',
        ),
    ],
)
def test_what_does_not_go_together(together: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(together, {"ADMIN_AUTH_TOKEN": "x"})
    assert message in caught.value.message


def test_arrays_in_the_file(tmp_path: Path) -> None:
    config = tmp_path / "tmpnb.toml"
    config.write_text('host_directories = ["/a:/x:ro"]\nextra_hosts = ["a:1.2.3.4"]\nallow_origin = ["*"]\n')
    settings = load_settings({}, {}, str(config))
    assert settings.host_directories == (Mount("/a", "/x", read_only=True),)
    assert (settings.extra_hosts, settings.allow_origin) == (("a:1.2.3.4",), ("*",))
    config.write_text("host_directories = 5\nextra_hosts = [5]\nallow_origin = true\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {}, str(config))
    assert caught.value.message.splitlines() == [
        "3 settings are wrong:",
        f'  allow_origin in {config}: "true" is not a list: write https://example.org',
        f'  extra_hosts in {config}: "[5]" holds "5", which is not name:address: write db.example.org:10.0.0.5',
        f'  host_directories in {config}: "5" is not a list: write /home/data:/data:ro',
    ]


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (
            {"host_network": "1"},
            "host_network: every notebook reaches each service of this machine, and the other notebooks.",
        ),
        (
            {"container_ip": "0.0.0.0"},
            "container_ip 0.0.0.0: whoever reaches it gets to the notebooks past this service.",
        ),
        ({"container_user": "root"}, "container_user root: commands run as root in their container."),
        ({"container_user": "0:0"}, "container_user 0:0: commands run as root in their container."),
        ({"host_directories": "/a"}, "host_directories /a: every visitor may change it; :ro after it prevents that."),
        (
            {"host_directories": "/var/run/docker.sock:/x:ro"},
            "host_directories /var/run/docker.sock: gives every visitor power over this whole machine.",
        ),
        ({"host_directories": "/:/x:ro"}, "host_directories /: gives every visitor power over this whole machine."),
        (
            {"host_directories": "/var/run:/x:ro"},
            "host_directories /var/run: gives every visitor power over this whole machine.",
        ),
        (
            {"egress": "internet", "egress_allow": "*"},
            "egress_allow *: notebooks reach whatever this machine reaches, and its own services.",
        ),
        ({"use_tokens": "no"}, "use_tokens is off: whoever learns the address of a notebook has it."),
        (
            {"allow_origin": "*"},
            "allow_origin *: pages of every site may start notebooks in their visitors' browsers.",
        ),
        (
            {"frame_ancestors": "*"},
            "frame_ancestors *: pages of every site may show notes in a frame, and visitors may be led to run them.",
        ),
        (
            {"tokenless_origin": "https://a.example"},
            "tokenless_origin https://a.example: its pages need only the address of a notebook that they started.",
        ),
        (
            {"session_host": "{name}.nb.example.net", "allowed_hosts": "notebooks.example.org,*.example.net"},
            (
                "session_host: notebooks and *.example.net are both below example.net, so a notebook's page can make "
                "cookies for *.example.net. Give notebooks a domain of their own (unless example.net is a public "
                "suffix, like co.uk)."
            ),
        ),
    ],
)
def test_what_is_risky_is_a_warning(options: dict[str, str], warning: str) -> None:
    assert read_settings(options, {"ADMIN_AUTH_TOKEN": "x"}).warnings == (warning,)


def test_credentials_are_not_for_everybody() -> None:
    warnings = read_settings({"allow_credentials": "true", "allow_origin": "*"}, {}).warnings
    assert warnings[1:] == (
        "allow_credentials is left out, as browsers refuse it beside allow_origin *: name the sites.",
    )


def test_what_is_careful_is_none() -> None:
    options = {"host_directories": "/a::ro", "allow_origin": "https://a.example", "allow_credentials": "true"}
    assert read_settings({**options, "container_user": "1001", "docker_network": "x"}, {}).warnings == ()


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_message(text: str) -> None:
    for name in ("host_directories", "extra_hosts", "allow_origin", "redirect_uri", "container_user"):
        try:
            load_settings({name: text}, {})
        except SettingsError as error:
            assert error.message.startswith(OPTIONS[name].flag)  # noqa: PT017 - either way is fine


def test_options_that_only_docker_has() -> None:
    assert without_effect(Settings(), "local") == []
    settings = Settings(cpu_shares=512, extra_hosts=("a:1.2.3.4",), container_port=1)
    assert without_effect(settings, "local") == ["container_port", "extra_hosts", "cpu_shares"]
    assert without_effect(settings, "docker") == []


def test_sites_that_may_show_notes_in_a_frame_are_written_as_a_policy_has_them() -> None:
    text = "https://LMS.example.org/, https://*.example.org:8443,self,http://[::1]:*, http://localhost:*"
    with pytest.raises(SettingsError):
        load_settings({"frame_ancestors": text}, {})
    settings = load_settings({"frame_ancestors": text.replace("[::1]:*", "[::1]:80")}, {})
    assert settings.frame_ancestors == (
        "https://lms.example.org", "https://*.example.org:8443", "'self'", "http://[::1]:80", "http://localhost:*",
    )  # fmt: skip
