"""Generate the workshops' data sets: invented, but shaped like the real thing. Deterministic, standard library only.

Run it in this directory after a change: `python3 make_data.py`. What it writes is kept in the repository, so that
nothing has to be generated when the image is built.
"""

from __future__ import annotations

import csv
import datetime
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

WORKSHOPS = Path(__file__).parent / "workshops"
STATIONS = {  # mean temperature, its swing over the year, windiness
    "Harbour": (12.5, 8.0, 2.0),
    "Valley": (13.5, 11.0, 1.4),
    "Plain": (11.5, 12.0, 1.6),
    "Summit": (-1.5, 9.0, 3.6),
}
YEAR = datetime.timedelta(days=365.25)


def write(path: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file below the workshops' directory."""
    target = WORKSHOPS / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def generator(seed: int) -> random.Random:
    """Numbers that look random and are the same each time."""
    return random.Random(seed)  # noqa: S311  (data for teaching, not secrets)


def students() -> None:
    """240 students: hours, attendance and a job influence the exam's result."""
    rng = generator(20260901)
    programmes = {"Biology": 4, "Economics": 0, "Psychology": 2, "Sociology": -3, "Physics": 7}
    rows = []
    for number in range(1, 241):
        programme = rng.choices(list(programmes), weights=(60, 70, 50, 35, 25))[0]
        job = rng.random() < 0.4
        hours = max(0.5, rng.gauss(5.5 - 1.4 * job, 2.0))
        attended = min(14, max(0, round(rng.gauss(8.2 + 0.45 * hours - 0.8 * job, 2.2))))
        points = 22 + 3.6 * hours + 1.7 * attended + programmes[programme] - 2.5 * job + rng.gauss(0, 9)
        absent = rng.random() < 0.05 + 0.12 * (attended < 7)
        score = "" if absent else round(min(100.0, max(0.0, points)), 1)
        rows.append((f"s{number:03d}", programme, round(hours, 1), attended, "yes" if job else "no", score))
    write("introduction-to-r/data/students.csv", ("id", "programme", "hours", "attended", "job", "score"), rows)


def weather() -> None:
    """Two years at four stations, for the graphics."""
    rng = generator(20260902)
    rows: list[tuple[object, ...]] = []
    first = datetime.date(2023, 7, 1)
    for station, (mean, swing, windiness) in STATIONS.items():
        spell = 0.0
        for offset in range(731):
            day = first + datetime.timedelta(days=offset)
            season = math.cos(2 * math.pi * (day.timetuple().tm_yday - 200) / YEAR.days)
            spell = 0.8 * spell + rng.gauss(0, 1.7)
            tmax = mean + 4.5 + swing * season + spell
            tmin = tmax - abs(rng.gauss(7.5 + 1.5 * season, 1.8)) - 0.5
            autumn = math.cos(2 * math.pi * (day.timetuple().tm_yday - 310) / YEAR.days)
            wet = rng.random() < 0.36 + 0.14 * autumn * (station in ("Harbour", "Summit")) - 0.05 * (
                station == "Plain"
            )
            rain = round(rng.lognormvariate(0.9 + 0.35 * autumn, 1.0), 1) if wet else 0.0
            wind = max(0.5, rng.gauss(9 - 2.5 * season + 2.5 * wet, 3.0) * windiness / 1.6)
            rows.append((day, station, round(tmin, 1), round(tmax, 1), rain, round(wind, 1)))
    write("graphics-with-ggplot2/data/weather.csv", ("date", "station", "tmin", "tmax", "rain", "wind"), rows)


def cafe() -> None:
    """A year of a café with two shops, and the weather of the same days; with the blemishes of real data."""
    rng = generator(20260903)
    base = {"espresso": 30, "flat white": 36, "tea": 16, "cocoa": 12, "lemonade": 14}
    warmth = {"espresso": 0.0, "flat white": -0.2, "tea": -0.3, "cocoa": -0.9, "lemonade": 1.5}
    days, sales = [], []
    spell = 0.0
    for offset in range(366):
        day = datetime.date(2024, 1, 1) + datetime.timedelta(days=offset)
        spell = 0.75 * spell + rng.gauss(0, 2.0)
        tmax = 14 - 11 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 18) / YEAR.days) + spell
        rain = round(rng.expovariate(0.2), 1) if rng.random() < 0.35 else 0.0
        days.append((day, round(tmax, 1), rain))
        for shop, weekend_factor in (("station", 0.45), ("park", 2.4)):
            factor = weekend_factor if day.weekday() >= 5 else 1.0
            if shop == "park":
                factor *= 0.75 if rain > 2 else 1.0
            for drink, cups in base.items():
                expected = max(1.0, (cups + warmth[drink] * (tmax - 14)) * factor)
                count: object = max(0, round(rng.gauss(expected, math.sqrt(expected) * 1.3)))
                dice = rng.random()
                if dice < 0.004:
                    count = ""
                elif dice < 0.006:
                    count = -rng.randint(1, 9)
                sales.append((day, shop, drink, count))
    write("introduction-to-python/data/cafe.csv", ("date", "shop", "drink", "cups"), sales)
    write("introduction-to-python/data/weather.csv", ("date", "tmax", "rain"), days)


def pendulum() -> None:
    """120 noisy readings of a damped pendulum of one metre."""
    rng = generator(20260904)
    omega = math.sqrt(9.81)
    rows = []
    for step in range(120):
        t = step * 0.1
        angle = 12.4 * math.exp(-0.06 * t) * math.cos(omega * t + 0.15) + rng.gauss(0, 0.5)
        rows.append((f"{t:.1f}", f"{angle:.2f}"))
    write("introduction-to-octave/data/pendulum.csv", ("time_s", "angle_deg"), rows)


def readings() -> None:
    """Three weeks of four greenhouse sensors, one of them failing now and then and one with impossible values."""
    rng = generator(20260905)
    rows = []
    start = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    failing = 0
    for step in range(21 * 24 * 6):
        now = start + datetime.timedelta(minutes=10 * step)
        sun = math.sin(2 * math.pi * (now.hour * 60 + now.minute - 540) / 1440)
        for number in range(1, 5):
            value = 19 + 6 * sun + number * 0.7 + rng.gauss(0, 0.6)
            status = "error" if rng.random() < 0.01 else "ok"
            if number == 2:
                failing = failing - 1 if failing else (rng.randint(3, 14) if rng.random() < 0.004 else 0)
                status = "error" if failing else status
            if number == 4 and rng.random() < 0.001:
                value += 60
            shown = f"{value:.1f}" if status == "ok" else "-99.0"
            rows.append((now.strftime("%Y-%m-%dT%H:%M"), f"S{number}", shown, status))
    write("the-shell-for-data-work/data/readings.csv", ("time", "sensor", "value", "status"), rows)


if __name__ == "__main__":
    for make in (students, weather, cafe, pendulum, readings):
        make()
