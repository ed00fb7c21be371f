"""The dashboard is what Grafana's own types say a dashboard is (`@grafana/schema`, Apache-2.0).

Grafana's program is in no suite of Debian and on no registry that can be reached here, so that it draws the panels is
not tested; what they ask a real Prometheus is, in `test_prometheus`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import npm
from tests.engine_support import skip_or_fail

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "docs" / "grafana" / "tmpnb-py.json"
TSC = ROOT / "tests" / "frontend" / "node_modules" / ".bin" / "tsc"  # tests/frontend/check fetches it
SCHEMA = "@grafana/schema@11.6.0"
OPTIONS = {
    "stat": "stat/panelcfg/x/StatPanelCfg",
    "table": "table/panelcfg/x/TablePanelCfg",
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg",
}
_ENUM = re.compile(r"(?:export )?declare enum (\w+) \{(.*?)\}", re.DOTALL)


def _types(directory: Path) -> None:
    """The package's types, with enums as what they are in JSON: their values."""
    source = npm.package(SCHEMA) / "dist" / "esm"
    for path in [*source.rglob("*.d.ts"), *source.rglob("*.d.mts")]:
        copy = directory / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_ENUM.sub(_union, path.read_text()))


def _union(found: re.Match[str]) -> str:
    values = re.findall(r"= ([^,\n]+)", re.sub(r"/\*.*?\*/", "", found[2], flags=re.DOTALL))
    return f"export type {found[1]} = {' | '.join(values)};"


def _program(board: dict[str, Any]) -> str:
    """Values with the types that they must have; TypeScript refuses missing, wrong and unknown properties."""
    lines = ['import type { Dashboard, Panel } from "./types/raw/dashboard/x/dashboard_types.gen";']
    lines += [
        f'import type * as {kind} from "./types/raw/composable/{at}_types.gen";' for kind, at in OPTIONS.items()
    ]
    panels = board.pop("panels")
    lines.append(f"export const board: Dashboard = {json.dumps(board)};")
    for number, panel in enumerate(panels):
        kind, custom = panel["type"], panel.get("fieldConfig", {}).get("defaults", {}).get("custom", {})
        lines.append(f"export const panel{number}: Panel = {json.dumps(panel)};")
        options = json.dumps(panel.get("options", {}))
        lines.append(f"export const options{number}: Partial<{kind}.Options> = {options};")
        if custom:
            lines.append(f"export const custom{number}: Partial<{kind}.FieldConfig> = {json.dumps(custom)};")
    return "\n".join(lines)


def _complaints(directory: Path, board: dict[str, Any]) -> str:
    if not TSC.exists() or shutil.which("node") is None:
        skip_or_fail("TypeScript is not there: run tests/frontend/check")
    _types(directory / "types")
    # The types of panels import the package by its name.
    config = {
        "compilerOptions": {
            "strict": True, "noEmit": True, "skipLibCheck": True, "target": "es2022", "module": "esnext",
            "moduleResolution": "bundler", "types": [], "paths": {"@grafana/schema": ["./types/index.d.mts"]},
        },
        "files": ["board.ts"],
    }  # fmt: skip
    (directory / "tsconfig.json").write_text(json.dumps(config))
    (directory / "board.ts").write_text(_program(board))
    command = [str(TSC), "--project", str(directory / "tsconfig.json")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout


@pytest.fixture
def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BOARD.read_text())
    return found


def test_the_dashboard_is_one(tmp_path: Path, board: dict[str, Any]) -> None:
    assert _complaints(tmp_path, board) == ""


def test_the_check_finds_what_is_none(tmp_path: Path, board: dict[str, Any]) -> None:
    board["refresh"] = 30
    board["panels"][0]["gridPos"] = {"x": 0, "y": "top", "w": 4, "h": 4}
    legend = next(one["options"]["legend"] for one in board["panels"] if "legend" in one["options"])
    legend["displayMode"] = "sideways"
    complaints = _complaints(tmp_path, board)
    for words in ("Type 'number' is not assignable", "Type 'string' is not assignable", '"sideways"'):
        assert words in complaints, complaints
