"""The command lines and environments of local notebooks, as plain values."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tmpnb_py.core.errors import ImageMissingError
from tmpnb_py.engines.local import machine
from tmpnb_py.engines.local import sandbox as local_sandbox
from tmpnb_py.engines.local.cgroup import GroupLimits
from tmpnb_py.engines.local.sandbox import Layout, Places, Sandbox

LAYOUT = Layout((("usr/bin", "/bin"),), ("/usr",), ("/home/anna/app/.venv",))
SHOWN = [("/run/user/1/support", local_sandbox.SUPPORT), ("/src/etc", local_sandbox.CONFIG)]
USER = Sandbox("/usr/bin/bwrap", "0.8.0", as_root=False, locked=True)
ROOT = Sandbox("/usr/bin/bwrap", "0.8.0", as_root=True, locked=True)
SIZES: dict[str, Any] = {"home_size": 4096, "tmp_size": 8192, "shm_size": 1024}


def argv(sandbox: Sandbox, *, network: bool = False, pids: int = 0) -> list[str]:
    return local_sandbox.sandboxed(sandbox, LAYOUT, SHOWN, "exec serve", **SIZES, network=network, pids=pids)


def outer(arguments: list[str]) -> list[str]:
    """Up to the command that runs inside."""
    return arguments[: arguments.index("--")]


def inner(arguments: list[str]) -> list[str]:
    """The command that runs inside."""
    return arguments[arguments.index("--") + 1 :]


def test_an_ordinary_users_sandbox_has_every_namespace() -> None:
    arguments = outer(argv(USER))
    for name in ("user", "ipc", "pid", "uts", "net", "cgroup-try"):
        assert f"--unshare-{name}" in arguments
    assert arguments[arguments.index("--cap-drop") :][:2] == ["--cap-drop", "ALL"]
    assert "--cap-add" not in arguments
    assert "--disable-userns" in arguments
    assert "--die-with-parent" not in arguments  # it outlives the orchestrator
    assert argv(USER)[-3:] == ["/bin/sh", "-c", "exec serve"]
    assert "--disable-userns" not in argv(Sandbox("bwrap", "0.4", as_root=False, locked=False))


def test_root_becomes_the_notebooks_user_for_good() -> None:
    arguments = argv(ROOT)
    inside = arguments[arguments.index("--") :]
    assert "--unshare-user" not in outer(arguments)
    assert inside[5:11] == ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
    assert {"--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"} < set(inside)
    assert "--disable-userns" in inside
    flat = argv(Sandbox("bwrap", "0.4", as_root=True, locked=False))
    assert "--unshare-user" not in flat
    assert "setpriv" in flat


def test_system_calls_are_filtered_once_the_sandbox_is_made() -> None:
    for sandbox in (USER, Sandbox("bwrap", "0.4", as_root=True, locked=False)):
        arguments = argv(sandbox)
        assert arguments[:4] == ["/bin/sh", "-c", 'exec "$@" 4<"$0"', "/run/user/1/support/seccomp"]
        assert "--seccomp" in outer(arguments)
        assert "--seccomp" not in inner(arguments)
    assert "--seccomp" not in outer(argv(ROOT))  # which would keep root from making the second one
    inside = inner(argv(ROOT))
    assert inside[inside.index('exec "$@" 4<"$0"') + 1] == "/srv/tmpnb/support/seccomp"
    assert "--seccomp" in inside


def test_files_of_the_kernel_about_the_machine_are_hidden() -> None:
    arguments = outer(local_sandbox.sandboxed(
        USER, Layout((), (), (), ("/proc/keys",)), SHOWN, "x", network=False, **SIZES
    ))  # fmt: skip
    at = arguments.index("/proc/keys")
    assert arguments[at - 2 : at] == ["--ro-bind", "/dev/null"]
    assert at > arguments.index("--proc")


def test_the_network_is_shared_only_when_it_is_asked_for() -> None:
    assert "/etc/resolv.conf" not in argv(USER)
    opened = argv(USER, network=True)
    assert "--unshare-net" not in opened
    assert "/etc/resolv.conf" in opened


def test_what_can_be_written_is_memory_of_bounded_size() -> None:
    arguments = outer(argv(USER))
    assert "--bind" not in arguments
    assert "--dev-bind" not in arguments
    writable = [path for flag, path in pairwise(arguments) if flag == "--tmpfs"]
    assert writable == ["/dev/shm", "/tmp", "/home/jovyan", "/run/tmpnb"]
    sizes = [size for flag, size in pairwise(arguments) if flag == "--size"]
    assert sizes[:3] == ["1024", "8192", "4096"]
    assert len(sizes) == len(writable)
    assert [path for flag, path in pairwise(arguments) if flag == "--remount-ro"] == ["/dev", "/"]


def test_parents_of_what_is_shown_can_be_passed() -> None:
    arguments = outer(argv(USER))
    made = [path for flag, path in pairwise(arguments) if flag == "--dir"]
    assert [path for path in made if path.startswith("/home")] == ["/home", "/home", "/home/anna", "/home/anna/app"]
    assert arguments[arguments.index("/home/anna") - 3 : arguments.index("/home/anna") - 1] == ["--perms", "0755"]


def test_processes_are_limited_in_a_user_namespace_only() -> None:
    assert "ulimit -p 50" in argv(USER, pids=50)[-3]
    assert "ulimit" not in argv(Sandbox("bwrap", "0.4", as_root=True, locked=False), pids=50)[-1]


@pytest.mark.parametrize("given", ["go\n", "", "stop\n"])
def test_the_first_shell_waits_for_its_record(given: str) -> None:
    command = local_sandbox.launch(
        ["sh", "-c", "ulimit -n; ulimit -c; ulimit -d; cat"],
        groups=(),
        limits=GroupLimits(64 << 20, 0),
        memory_per_process=True,
    )
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
    expected = (0, ["4096", "0", "65536"]) if given == "go\n" else (125, [])
    assert (done.returncode, done.stdout.split()) == expected


def test_a_supervisor_without_a_sandbox_writes_how_it_ended() -> None:
    for command, status in (("exit 7", 7), ("kill -9 $$", 137), ("true", 0)):
        done = subprocess.run(
            ["sh", "-c", '"$@" 3>&1 >/dev/null', "sh", *local_sandbox.unprotected(command)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout == f'{{ "exit-code": {status} }}\n'


def test_the_environment_is_all_there_is() -> None:
    places = Places("/venv", "/home/jovyan", "/run/tmpnb/server.sock", "/s", "/c", "/w")
    environ = local_sandbox.environment(places, base_path="/user/x/", token="")
    assert "JUPYTER_TOKEN" not in environ
    assert "TMPDIR" not in environ
    assert environ["PATH"].startswith("/s/bin:/venv/bin:")
    assert local_sandbox.environment(places, base_path="/user/x/", token="t")["JUPYTER_TOKEN"] == "t"
    assert "TMPNB_EGRESS" not in environ
    assert "TMPNB_WARM_KERNELS" not in environ
    assert local_sandbox.environment(places, base_path="/", token="", egress="none")["TMPNB_EGRESS"] == "none"


def test_support_files_can_be_read_by_whoever_is_inside(tmp_path: Path) -> None:
    script = tmp_path / "start-notebook.sh"
    script.write_text("#!/bin/sh\n")
    files = machine.support_files("/venv", script)
    assert b"Jupytext Notebook" in files["jupyter/labconfig/default_setting_overrides.json"][0]
    machine.install_support(tmp_path / "support", files)
    machine.install_support(tmp_path / "support", files)
    for name, (content, mode) in files.items():
        path = tmp_path / "support" / name
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == mode
        assert path.parent.stat().st_mode & 0o777 == 0o755


def test_python_outside_the_system_is_shown_and_nothing_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An environment that somebody made in their home."""
    home, python = tmp_path / "anna", tmp_path / "opt" / "python" / "bin" / "python3"
    for directory in ("bin", "lib", "etc/jupyter", "share", ".ssh", "include"):
        (home / directory).mkdir(parents=True)
    for file in ("pyvenv.cfg", "tmpnb.toml", "etc/secrets.env", ".bashrc"):
        (home / file).touch()
    python.parent.mkdir(parents=True)
    python.touch()
    (home / "bin" / "python3").symlink_to(python)
    monkeypatch.setattr("sys.prefix", str(home))
    monkeypatch.setattr("sys.base_prefix", "/usr")
    monkeypatch.setattr("sys.executable", str(home / "bin" / "python3"))
    found = machine.layout()
    shown = {str(home / name) for name in ("bin", "lib", "etc/jupyter", "share", "include", "pyvenv.cfg")}
    assert set(found.python) == {*shown, str(python)}
    assert "/usr" in found.system
    assert {path for _, path in found.links} | set(found.system) >= {"/usr", "/bin", "/lib"}


def test_keys_of_the_machines_own_certificates_are_not_shown() -> None:
    """A group may read them, and notebooks of an ordinary user are in that user's groups."""
    shown = {path for path in outer(argv(USER)) if path.startswith("/etc/")}
    assert not {path for path in shown if "private" in path}
    assert not {"/etc/ssl", "/etc/pki", "/etc/pki/tls"} & {
        path for flag, path in pairwise(outer(argv(USER))) if flag == "--ro-bind-try"
    }
    assert "/etc/ssl/certs" in shown


def test_missing_jupyterlab_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ImageMissingError, match="needs JupyterLab") as caught:
        machine.python_versions(prefix=str(tmp_path))
    assert "pip install '.[local]'" in caught.value.remedy


@pytest.mark.parametrize(
    ("release", "counts"), [("5.13.9", False), ("5.14.0-1", True), ("6.1.0", True), ("x", False)]
)
def test_old_kernels_count_all_of_a_users_processes(
    monkeypatch: pytest.MonkeyPatch, release: str, counts: bool
) -> None:
    monkeypatch.setattr("platform.release", lambda: release)
    assert machine.counts_processes() is counts


def test_a_processor_without_a_filter_has_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    sandbox, reason = machine.find_sandbox(tmp_path / "none")
    assert sandbox is None
    assert "riscv64" in reason


def test_no_sandbox_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "start-notebook.sh"
    script.write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox, reason = machine.find_sandbox(script)
    assert sandbox is None
    assert "not installed" in reason
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    sandbox, reason = machine.find_sandbox(script)
    assert sandbox is None
    assert "No permissions to create new namespace" in reason
