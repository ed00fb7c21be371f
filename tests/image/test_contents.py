"""What is in the image: complete where notebooks need it, small where they do not, the same on a read-only root."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest

from tests.engine_support import Run, docker
from tests.image.conftest import Place
from tmpnb_py.core.installation import workshop_directory

pytestmark = pytest.mark.engine

LARGEST = 1_650_000_000


def test_it_is_small(workshop_image: str) -> None:
    assert int(docker("image", "inspect", "--format", "{{.Size}}", workshop_image)) < LARGEST


def test_its_labels(workshop_image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", workshop_image))
    wanted = {"org.tmpnb.socket": "true", "org.tmpnb.read-only": "true", "org.tmpnb.home": "/home/jovyan"}
    assert wanted.items() <= labels.items()
    for key in ("title", "description", "licenses", "version", "base.name"):
        assert labels[f"org.opencontainers.image.{key}"]


async def test_the_manifest_is_where_the_label_says(place: Place) -> None:
    facts = await place.engine.image(place.settings.image)
    files = await place.engine.read_image(facts, [facts.workshops])
    ours = (workshop_directory() / "workshops" / "workshops.toml").read_text()
    assert tomllib.loads(files[facts.workshops].decode()) == tomllib.loads(ours)  # all of them can run here


def test_nothing_is_left_that_only_building_needs(in_image: Run) -> None:
    """No certificates of whoever built it, no package lists, no compilers, no documents of packages."""
    found = in_image(
        "ls -d /build /opt/jupyter/lib/python3*/site-packages/setuptools 2>/dev/null;"
        "ls /var/lib/apt/lists /var/cache/apt/archives/*.deb 2>/dev/null;"
        "which gcc make 2>/dev/null; true"
    )
    assert found.split() == ["/var/lib/apt/lists:"] or found == ""


def test_its_server_starts_without_a_complaint(in_image: Run) -> None:
    """Of all that is installed, nothing is enabled that is not there."""
    log = in_image("timeout 8 start-notebook.sh --ServerApp.ip=127.0.0.1 --ServerApp.port=8888 2>&1; true")
    assert "http://127.0.0.1:8888/" in log
    assert "Traceback" not in log
    assert "[W " not in log


def test_jupyterlabs_default_viewers_are_there(in_image: Run) -> None:
    """A default for a file type without its extension would be a warning in each visitor's console."""
    places = "/opt/jupyter/etc/jupyter/labconfig /opt/jupyter/share/jupyter/lab/settings"
    assert in_image(f"grep -rl defaultViewers {places}; true") == ""


def test_every_module_is_compiled(in_image: Run) -> None:
    """On a read-only root Python would compile it at each start."""
    code = (
        "import importlib.util, pathlib; "
        "root = pathlib.Path('/opt/jupyter/lib'); "
        "files = [f for f in root.rglob('*.py') if 'site-packages' in f.parts]; "
        "missing = [str(f) for f in files if not pathlib.Path(importlib.util.cache_from_source(f)).exists()]; "
        "print(len(files), missing[:20])"
    )
    count, missing = in_image(f'python -c "{code}"').split(" ", 1)
    assert int(count) > 3000
    # Templates that no Python can read are left as they are.
    assert missing == "[]"


def test_nothing_that_runs_lacks_a_library(in_image: Run) -> None:
    """What was left out of Debian's packages is linked with none of the programs and modules that notebooks use."""
    programs = (
        "/usr/bin/octave-cli /usr/bin/gnuplot /usr/bin/gs /usr/bin/git /usr/lib/R/bin/exec/R "
        "$(find /usr/lib/*/octave -name '*.oct') $(find /usr/lib/R /opt/jupyter -name '*.so')"
    )
    lacking = in_image(
        "for file in " + programs + '; do [ -e "$file" ] && LD_LIBRARY_PATH=/usr/lib/R/lib ldd "$file" 2>/dev/null '
        '| grep "not found" | sed "s|^|$file|"; done; true'
    )
    ours = [line for line in lacking.splitlines() if "__init_qt__" not in line]  # Octave's window
    assert ours == []


def test_the_launcher_shows_good_names_and_logos(in_image: Run) -> None:
    specs = json.loads(in_image("jupyter-kernelspec list --json"))["kernelspecs"]
    names = {name: one["spec"]["display_name"] for name, one in specs.items()}
    assert names == {"python3": "Python 3", "ir": "R", "octave": "Octave", "bash": "Bash", "gnuplot": "gnuplot"}
    for one in specs.values():
        assert in_image(f"ls {one['resource_dir']} | grep -c logo") != "0"


def test_the_packages_of_the_historic_image(in_image: Run) -> None:
    for name in ("tidyverse", "ggplot2", "plotly", "forecast", "effects", "rvest", "svglite"):
        assert in_image(f"R --slave -e 'cat(requireNamespace(\"{name}\", quietly = TRUE))'").endswith("TRUE")
    modules = (
        "numpy, scipy, pandas, matplotlib, seaborn, plotly, sympy, sklearn, tqdm, ipywidgets, nbgitpuller, notebook"
    )
    assert in_image(f"python -c 'import {modules}; print(1)'") == "1"


def test_what_a_course_on_the_shell_uses(in_image: Run) -> None:
    """The programs, and their manual pages, though packages come without documents."""
    programs = "awk bash cat curl diff find git grep gzip less ls man nano ps sed sort tar top uniq wc wget"
    assert in_image(f"for name in {programs}; do command -v $name >/dev/null || echo $name; done") == ""
    pages = f"{programs} git-commit"
    assert in_image(f"for name in {pages}; do man -w $name >/dev/null 2>&1 || echo $name; done") == ""


def test_a_fresh_home_is_filled(in_image: Run) -> None:
    listed = in_image("start-notebook.sh --version >/dev/null; cd; ls work; ls .cache/matplotlib; ls -ld work")
    assert "introduction-to-python" in listed
    assert "workshops.toml" not in listed
    assert "fontlist" in listed
    assert "jovyan" in listed.splitlines()[-1]


def test_a_home_with_content_is_left_alone(in_image: Run) -> None:
    listed = in_image("mkdir -p ~/work && touch ~/work/mine && start-notebook.sh --version >/dev/null; ls ~/work")
    assert listed == "mine"


async def test_a_connection_outlives_a_late_ping(in_image: Run) -> None:
    """Jupyter looks for the answer to a ping when it sends the next one: the limit has to be longer than that."""
    code = (
        "from jupyter_server.base.websocket import WebSocketMixin as Socket; from jupyterlab.labapp import LabApp; "
        "app = LabApp.initialize_server(argv=['--ServerApp.ip=127.0.0.1', '--port=0']); "
        "socket = Socket(); socket.settings = app.web_app.settings; "
        "print(socket.ping_timeout >= 2 * socket.ping_interval > 0)"
    )
    assert in_image(f'mkdir -p ~/work; python -c "{code}" 2>&1').splitlines()[-1] == "True"


def test_the_time_left_is_shown_by_an_extension_of_ours(in_image: Run) -> None:
    """JupyterLab finds it, and finds nothing wrong with it; it is small."""
    listed = in_image("jupyter labextension list 2>&1")
    assert re.search(r"tmpnb-session v[0-9.]+ .*enabled.*OK", listed), listed
    there = "/opt/jupyter/share/jupyter/labextensions/tmpnb-session"
    size = in_image(f"du -sb --exclude 'words-*.json' {there} | cut -f1")  # a visitor loads at most one of these
    assert int(size) < 76_000
    sizes = in_image(f"stat -c %s {there}/static/words-*.json").split()
    assert all(int(one) < 12_000 for one in sizes)


def test_what_a_notebook_can_be_saved_as_is_known_without_looking(in_image: Run) -> None:
    """The image's list is of what Jupyter Server finds, less what cannot work; nothing is imported to answer."""
    code = (
        "import asyncio, json, sys; "
        "from jupyterlab.labapp import LabApp; from tornado.httpclient import AsyncHTTPClient; "
        "arguments = ['--ServerApp.ip=127.0.0.1', '--port=8888', '--IdentityProvider.token=', '--debug']; "
        "sys.argv[1:] and arguments.append('--ServerApp.jpserver_extensions={\"tmpnb_exporters\": False}'); "
        "app = LabApp.initialize_server(argv=arguments); "
        "body = asyncio.get_event_loop().run_until_complete("
        "AsyncHTTPClient().fetch('http://127.0.0.1:8888/api/nbconvert', request_timeout=120)).body; "
        "print(json.dumps(['nbconvert.exporters.html' in sys.modules, json.loads(body)]))"
    )
    command = f"mkdir -p ~/work; python -c {shlex.quote(code)}"
    own, jupyters = (json.loads(in_image(f"{command} {off} 2>/dev/null").splitlines()[-1]) for off in ("", "off"))
    assert jupyters[0] is True
    assert jupyters[1].keys() - own[1].keys() == {"custom", "qtpdf", "qtpng", "webpdf"}
    assert own == [False, {name: one for name, one in jupyters[1].items() if name in own[1]}]


def test_kernels_do_not_see_what_is_the_servers(in_image: Run) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('tmpnb_archive'))"
    assert in_image(f'python -c "{code}"') == "None"


def test_what_servers_do_not_use_is_loaded_when_it_is_used(in_image: Run) -> None:
    """Else it would be loaded at each start: by whoever is new among those that import it, or under another name."""
    code = (
        "import importlib.util, sys, types; sys.path.insert(0, ''); "
        "spec = importlib.util.spec_from_file_location('tmpnb_start', '/opt/jupyter/share/tmpnb/tmpnb_start.py'); "
        "start = sys.modules['tmpnb_start'] = importlib.util.module_from_spec(spec); spec.loader.exec_module(start); "
        "sys.path.insert(0, '/opt/jupyter/share/tmpnb'); start.leave_for_later(); "
        "from jupyterlab.labapp import LabApp; "
        "app = LabApp.initialize_server(argv=['--ServerApp.ip=127.0.0.1', '--port=0']); "
        "loaded = [name for name in ('requests', 'urllib3', 'charset_normalizer', 'arrow', 'websocket', 'httpx') "
        "if name in sys.modules and type(sys.modules[name]) is types.ModuleType]; "
        "import requests, jsonschema; from jupyterlab.extensions import get_pypi_manager; "
        "check = jsonschema.FormatChecker(['uri']); "
        "print(loaded, requests.Session.__name__, check.conforms('x y', 'uri'), check.conforms('http://x', 'uri'), "
        "type(get_pypi_manager({}, {}, app)).__name__)"
    )
    printed = in_image(f'mkdir -p ~/work; python -c "{code}" 2>&1').splitlines()[-1]
    assert printed == "[] Session False True PyPIExtensionManager"
