"""Root's commands become the service's user, or say why they cannot."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from tmpnb_py.cli.commands import engine
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.options.settings import Settings

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
NOBODY = pwd.getpwnam("nobody")


def test_a_directory_of_ones_own_changes_nothing(tmp_path: Path) -> None:
    settings = engine.as_the_service(Settings(runtime_dir=tmp_path))
    assert settings == Settings(runtime_dir=tmp_path)
    assert engine.as_the_service(Settings(runtime_dir=tmp_path / "none")).runtime_path == tmp_path / "none"


@needs_root
def test_somebody_whom_nobody_knows(tmp_path: Path) -> None:
    os.chown(tmp_path, 54321, 54321)
    with pytest.raises(SettingsError, match="which does not exist on this machine"):
        engine.as_the_service(Settings(runtime_dir=tmp_path))
    assert os.geteuid() == 0


@needs_root
def test_a_program_that_its_user_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it would be loaded as root, and the rest would be missing."""
    installed, directory = tmp_path / "venv", tmp_path / "run"
    installed.mkdir(mode=0o700)
    directory.mkdir()
    os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
    monkeypatch.setattr(sys, "prefix", str(installed))
    with pytest.raises(SettingsError, match="who cannot read"):
        engine.as_the_service(Settings(runtime_dir=directory))
    assert (os.geteuid(), os.getegid()) == (0, 0)


@needs_root
def test_it_is_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, NOBODY.pw_uid, NOBODY.pw_gid)
    code = (
        "import os, sys; from pathlib import Path; from tmpnb_py.cli.commands import engine; "
        "from tmpnb_py.options.settings import Settings; engine._unreadable_for = lambda *_: None; "
        "settings = engine.as_the_service(Settings(runtime_dir=Path(sys.argv[1]))); "
        "print(*os.getresuid(), *os.getresgid(), *os.getgroups(), settings.runtime_path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, timeout=60
    )
    ids = [str(NOBODY.pw_uid)] * 3 + [str(NOBODY.pw_gid)] * 4
    assert done.stdout.split() == [*ids, str(tmp_path)]


@needs_root
def test_a_root_that_may_not(tmp_path: Path) -> None:
    """As in a container without the capability to become anybody."""
    os.chown(tmp_path, NOBODY.pw_uid, NOBODY.pw_gid)
    program = Path(sys.executable).with_name("tmpnb-py")
    done = subprocess.run(
        ["setpriv", "--bounding-set=-setuid,-setgid", program, "purge", "--yes", f"--runtime-dir={tmp_path}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "this process may not switch to that user" in done.stderr
    assert "runuser -u nobody -- tmpnb-py" in done.stderr
