"""`tmpnb-py timetable`: the next two weeks, what they need, and whether that fits."""

from __future__ import annotations

import datetime
import json
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tmpnb_py.bookings.model import Booking, State
from tmpnb_py.cli.commands import timetable as command
from tmpnb_py.cli.commands.timetable_needs import needs_of
from tmpnb_py.cli.main import cli
from tmpnb_py.core.errors import UnfitError
from tmpnb_py.core.models import EngineInfo
from tmpnb_py.core.units import DAY, GIB
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import load_settings
from tmpnb_py.options.tables import pool_of

TODAY = datetime.datetime.now(datetime.UTC).date()
TABLE = {"from": "00:00", "to": "24:00", "time_zone": "UTC", "pool_size": 60}


def info(memory: int, cpus: int = 2) -> EngineInfo:
    return EngineInfo("an engine", "1", memory, cpus)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[EngineInfo | None]:
    """The engine that is asked: its first entry."""
    found: list[EngineInfo | None] = [info(64 * GIB, 8)]

    async def ask(_: Settings) -> tuple[EngineInfo | None, str]:
        return found[0], "" if found[0] is not None else "it is down"

    monkeypatch.setattr(command, "_ask_engine", ask)
    return found


def run(directory: Path, text: str, *arguments: str) -> tuple[str, BaseException | None]:
    (directory / "t.toml").write_text(text)
    places = ["--config", str(directory / "t.toml"), f"--state-dir={directory / 'state'}"]
    done = CliRunner().invoke(cli, ["timetable", *places, *arguments])
    return done.stdout, done.exception


def table(key: str, pool_size: int = 60, days: int = 1) -> str:
    date = TODAY + datetime.timedelta(days=days)
    return (
        f'[[{key}]]\ndates = ["{date}"]\nfrom = "14:00"\nto = "16:00"\ntime_zone = "Europe/Berlin"\n'
        f"pool_size = {pool_size}\n"
    )


def test_a_time_is_shown_with_what_it_needs(tmp_path: Path, engine: list[EngineInfo | None]) -> None:
    text, error = run(tmp_path, table("timetable"))
    head, row, last = text.splitlines()
    assert head.split() == ["begins", "ends", "time", "zone", "ready", "in", "all", "memory", "CPUs"]
    assert f"{TODAY + datetime.timedelta(days=1)} 14:00  16:00  Europe/Berlin     60     120" in row
    assert row.endswith("  fits")
    assert last == "The engine has 64 GiB and 8 CPUs."
    assert error is None


def test_a_time_that_does_not_fit_is_an_error_that_says_what_to_do(
    tmp_path: Path, engine: list[EngineInfo | None]
) -> None:
    engine[0] = info(8 * GIB)
    text, error = run(tmp_path, table("timetable"))
    assert "does not fit" in text
    assert isinstance(error, UnfitError)
    assert (error.message, error.exit_code) == ("1 of 1 times do not fit", 8)
    assert error.remedy.startswith("Lower pool_size of these tables to about 3")


def test_an_engine_that_does_not_answer_is_said(tmp_path: Path, engine: list[EngineInfo | None]) -> None:
    engine[0] = None
    text, error = run(tmp_path, table("timetable"))
    assert text.splitlines()[-1] == "Whether it fits is not known: it is down."
    assert error is None


def test_json_is_for_programs(tmp_path: Path, engine: list[EngineInfo | None]) -> None:
    text, _ = run(tmp_path, table("timetable"), "--json")
    (time,) = json.loads(text)["times"]
    assert time["begins"].startswith(f"{TODAY + datetime.timedelta(days=1)}T14:00:00+0")
    assert (time["pool"], time["pool_size"], time["containers"], time["fits"]) == ("tmpnb", 60, 120, True)


def test_no_timetable_and_none_soon_are_told_apart(tmp_path: Path, engine: list[EngineInfo | None]) -> None:
    assert "There is no timetable. Write one" in run(tmp_path, "")[0]
    assert run(tmp_path, table("timetable", days=20))[0] == "Nothing in the next 14 days.\n"


def test_times_of_several_pools_are_of_one_engine(tmp_path: Path, engine: list[EngineInfo | None]) -> None:
    engine[0] = info(16 * GIB, 8)
    one = "[pools.r]\npool_size = 1\n" + table("pools.r.timetable", 50)
    two = "[pools.python]\npool_size = 1\n" + table("pools.python.timetable", 50)
    assert run(tmp_path, one)[1] is None
    text, error = run(tmp_path, one + two)
    assert [line.split()[0] for line in text.splitlines()] == [
        "pool",
        "r",
        "python",
        "Beside",
        "Beside",
        "The",
    ]
    assert isinstance(error, UnfitError), "each fits by itself"


def test_the_maximum_of_all_pools_bounds_their_times_together(
    tmp_path: Path, engine: list[EngineInfo | None]
) -> None:
    one = "max_containers = 12\n[pools.r]\npool_size = 1\n" + table("pools.r.timetable", 8)
    assert run(tmp_path, one)[1] is None
    two = "[pools.python]\npool_size = 1\n" + table("pools.python.timetable", 8)
    text, error = run(tmp_path, one + two)
    assert text.count("above max_containers, 12") == 2
    assert isinstance(error, UnfitError)
    assert error.remedy == "Lower pool_size of these tables to about 4, or raise max_containers."


def booked(directory: Path, pool: str = "tmpnb", **fields: Any) -> Booking:
    """A booking of tomorrow from three to five in Berlin, in the service's file."""
    begins = datetime.datetime.combine(
        TODAY + datetime.timedelta(days=1), datetime.time(15), zoneinfo.ZoneInfo("Europe/Berlin")
    ).timestamp()
    wish = {"id": "0000000a", "people": 10, "title": "Knots", **fields}
    made = Booking(pool=pool, begins=begins, ends=begins + 7200, zone="Europe/Berlin", **wish)
    (directory / "state").mkdir(mode=0o700, exist_ok=True)
    (directory / "state" / "tmpnb.json").write_text(State(bookings=(made,)).model_dump_json())
    return made


def test_bookings_and_times_of_one_hour_count_each_other(tmp_path: Path, engine: list[EngineInfo | None]) -> None:
    one = "max_containers = 12\n[pools.r]\npool_size = 1\n" + table("pools.r.timetable", 8)
    two = one + "[pools.python]\npool_size = 1\n"
    assert run(tmp_path, two)[1] is None
    booked(tmp_path, pool="python", people=4)
    text, error = run(tmp_path, two)
    assert error is None, "eight and four are twelve"
    head, *rows, _ = text.splitlines()
    assert head.split() == ["pool", "begins", "ends", "time", "zone", "for", "ready", "in", "all", "memory", "CPUs"]
    assert ("the timetable" in rows[0], "15:00  17:00  Europe/Berlin  0000000a Knots" in rows[1]) == (True, True)
    booked(tmp_path, pool="python", people=5)
    text, error = run(tmp_path, two)
    assert text.count("above max_containers, 12") == 2
    tomorrow = f"{TODAY + datetime.timedelta(days=1):%a %Y-%m-%d}"
    assert f"Beside the 8 of {tomorrow} 14:00: 5 by the booking 0000000a (Knots)." in text
    assert (
        f"Beside the 5 of {tomorrow} 15:00: 8 by the timetable of r ({tomorrow} 14:00-16:00 Europe/Berlin)." in text
    )
    assert isinstance(error, UnfitError)
    assert error.remedy.startswith("Cancel bookings")
    _, found = json.loads(run(tmp_path, two, "--json")[0])["times"]
    assert (found["booking"], found["people"], found["fits"]) == ("0000000a", 5, False)
    assert [(other["people"], other["pool"]) for other in found["beside"]] == [(8, "r")]


def test_bookings_alone_are_shown(tmp_path: Path, engine: list[EngineInfo | None]) -> None:
    booked(tmp_path, pool="a pool that has gone")
    text, error = run(tmp_path, "pool_size = 1\nmax_containers = 9\n")
    assert ("0000000a Knots" in text, "above max_containers, 9" in text) == (True, True)
    assert isinstance(error, UnfitError)


def test_a_file_that_cannot_be_read_is_said_and_left_as_it_is(
    tmp_path: Path, engine: list[EngineInfo | None]
) -> None:
    booked(tmp_path)
    path = tmp_path / "state" / "tmpnb.json"
    path.write_text(path.read_text()[:-5])
    text, error = run(tmp_path, table("timetable"))
    assert f"What is booked is not known: {path} is damaged, or of another version of tmpnb-py." in text
    assert (error, [one.name for one in path.parent.iterdir()]) == (None, ["tmpnb.json"])


def test_several_pools_have_timetables_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[pools.r]\npool_size = 1\n" + table("pools.r.timetable") + "[pools.python]\npool_size = 2\n")
    pools = load_settings({}, {}, str(path)).tables
    assert [len(pool.timetable) for pool in pools.values()] == [1, 0]
    path.write_text("[pools.r]\npool_size = 1\n" + table("pools.r.timetable").replace("16:00", "13:00"))
    with pytest.raises(Exception, match='from = "14:00" is not before to = "13:00"'):
        load_settings({}, {}, str(path))
    path.write_text(table("timetable") + "[pools.r]\npool_size = 1\n")
    with pytest.raises(Exception, match=r"write it below that pool's table, as \[\[pools\.<name>\.timetable\]\]"):
        load_settings({}, {}, str(path))


def test_the_maximum_bounds_what_is_needed() -> None:
    settings = Settings(timetable=[{**TABLE, "days": "daily"}], max_containers=70)  # type: ignore[arg-type]
    needs = needs_of([pool_of(settings, "x")], 0.0, DAY, None)
    assert {(one.containers, one.fits, one.verdict) for one in needs} == {(70, None, "not known")}
