"""The pools' tables: what each takes from where, and a sentence that helps for whatever cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmpnb_py.core import wishes
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.units import GIB
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import read_settings
from tmpnb_py.options.tables import is_own


def read(directory: Path, text: str, **environ: str) -> Settings:
    """The settings of a file and variables."""
    file = directory / "t.toml"
    file.write_text(text)
    return read_settings({}, environ, str(file)).settings


def test_a_table_takes_from_the_top_level_what_it_leaves_out(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        'image = "one"\nmax_containers = 40\ncull_max = "2h"\n'
        "[pools.python]\npool_size = 4\n"
        '[pools.r]\nimage = "two"\npool_size = 3\nmax_containers = 9\nmem_limit = "1g"\ncull_max = "3h"\n',
    )
    python, r = settings.pools
    assert (python.label, python.pool_name, python.image, python.max_containers) == (
        "python",
        "tmpnb.python",
        "one",
        None,
    )
    assert (r.label, r.image, r.pool_size, r.max_containers, r.mem_limit) == ("r", "two", 3, 9, GIB)
    assert (python.cull_max, r.cull_max) == (7200, 10800)
    assert (settings.max_containers, settings.pool_size) == (40, 7)


def test_without_tables_there_is_one_pool_as_ever(tmp_path: Path) -> None:
    settings = read(tmp_path, "pool_size = 3\n")
    assert settings.pools == (settings,)
    assert (settings.label, settings.pool_name, dict(settings.tables)) == ("tmpnb", "tmpnb", {})


def test_the_default_pool_comes_first(tmp_path: Path) -> None:
    settings = read(tmp_path, 'default_pool = "r"\n[pools.python]\n[pools.r]\n')
    assert [one.label for one in settings.pools] == ["r", "python"]


def test_the_table_of_the_pools_own_name_goes_on_with_what_there_was(tmp_path: Path) -> None:
    settings = read(tmp_path, "[pools.tmpnb]\n[pools.r]\n")
    assert [one.pool_name for one in settings.pools] == ["tmpnb", "tmpnb.r"]
    assert [
        name for name in ("tmpnb", "tmpnb.r", "tmpnb2", "tmpnb2.r", "tmpnb.r.x", "x.tmpnb") if is_own("tmpnb", name)
    ] == [
        "tmpnb",
        "tmpnb.r",
    ]


def test_variables_go_before_the_file_and_can_make_a_pool(tmp_path: Path) -> None:
    variables = {"TMPNB_POOLS__R_BIG__MEM_LIMIT": "2g", "TMPNB_POOLS__JULIA__IMAGE": "three", "TMPNB_IMAGE": "one"}
    settings = read(tmp_path, '[pools.r-big]\nmem_limit = "1g"\nimage = "two"\n', **variables)
    assert [(one.label, one.image, one.mem_limit // GIB) for one in settings.pools] == [
        ("r-big", "two", 2),
        ("julia", "three", 0),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pools.R]\n", '"R" is no name of a pool: use 1 to 31 of a-z'),
        ('[pools."a.b"]\n', "is no name of a pool"),
        ("[pools.a__b]\n", "is no name of a pool"),
        ("[pools.r]\n[pools.r]\n", "is not valid TOML"),
        ("pools = 3\n", "pools in"),
        ("pools.r = 3\n", "is not a table: write [pools.r] before the options of this pool"),
        ("[pools.r]\nport = 3\n", "holds for the whole service: write it at the top level, before the first table"),
        ("[pools.r]\npool_sise = 3\n", "there is no such option; did you mean pool_size?"),
        ("[pools.r]\npool_size = -1\n", "pool_size in [pools.r] in"),
        ("[pools.r]\npool_size = 5\nmax_containers = 4\n", "is below pool_size, which is 5"),
        (
            '[pools.r]\nworkshops = "a"\n[pools.s]\nworkshops = ["a"]\n',
            "a is listed by the pools r and s: leave it to one",
        ),
        ('[pools.r]\nworkshops = "A b"\n', "is no workshop's short name"),
        ('default_pool = "x"\n[pools.r]\n', "there is no pool x; there is r"),
        ('default_pool = "x"\n', "there is no pool x; there is none: write [pools.<name>] tables"),
        (
            "max_containers = 9\n[pools.r]\npool_size = 6\n[pools.s]\npool_size = 4\n",
            "below 10, the sum of the pools' pool_size",
        ),
        (
            "max_containers=9\npool_size=1\n[pools.r]\nguaranteed_containers=6\n[pools.s]\nguaranteed_containers=6\n",
            "below 12, the sum of the pools' guaranteed_containers",
        ),
        (
            "[pools.r]\npool_size = 1\nguaranteed_containers = 6\nmax_containers = 4\n",
            "is above its max_containers, which is 4",
        ),
        (
            (
                "max_containers = 9\n[pools.r]\npool_size = 1\n[[pools.r.timetable]]\n"
                "days = 'daily'\nfrom = '8:00'\nto = '9:00'\ntime_zone = 'UTC'\npool_size = 10\n"
            ),
            "of pool r: pool_size = 10 is above the top level's max_containers, which is 9: raise that, or lower",
        ),
        ("[pools.r]\n[pools.r]\n", "two tables have one name: give each pool a name of its own"),
        ("guaranteed_containers = 4\n", "is of one pool among several: write it in that pool's table"),
        (
            'workshops_file = "/etc/hostname"\n[pools.r]\n',
            "lists the workshops of one pool: write it in that pool's table",
        ),
    ],
)
def test_what_cannot_be_is_said_with_what_to_do(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert words in caught.value.message


def test_wrong_variables_are_mistakes_too(tmp_path: Path) -> None:
    for variable, words in (
        ("TMPNB_POOLS__R__PORT", "holds for the whole service"),
        ("TMPNB_POOLS__R__SIZE", "there is no such option"),
        ("TMPNB_POOLS__-__IMAGE", "is no name of a pool"),
    ):
        with pytest.raises(SettingsError, match="TMPNB_POOLS__") as caught:
            read(tmp_path, "", **{variable: "1"})
        assert words in caught.value.message


def test_a_mistake_at_the_top_level_is_told_once_for_all_pools(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, 'mem_limit = "1"\n[pools.r]\n[pools.s]\n')
    assert caught.value.message.count("mem_limit") == 1


@pytest.mark.parametrize(
    ("wish", "pool", "rest"),
    [
        ("", "", ""),
        ("lab/tree/x.ipynb", "", "lab/tree/x.ipynb"),
        ("lab/tree/x.ipynb?pool=r", "r", "lab/tree/x.ipynb"),
        ("?pool=r", "r", ""),
        ("x?a=1&pool=r&b=2", "r", "x?a=1&b=2"),
        ("x?pool=a&pool=b", "b", "x"),
        ("x?carpool=r", "", "x?carpool=r"),
        ("x?pool=a%20b", "a b", "x"),
        ("x?pool=", "", "x"),
    ],
)
def test_the_pool_of_a_wish(wish: str, pool: str, rest: str) -> None:
    assert wishes.split(wish) == (pool, rest)
    assert wishes.split(wishes.joined(rest, pool)) == (pool, rest)
