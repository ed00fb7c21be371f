"""The options in force: what a replacement takes on, derived values, and who is told."""

from __future__ import annotations

import pytest

from tmpnb_py.options.declaration import Option, Reload
from tmpnb_py.options.live import Change, LiveOptions, compare
from tmpnb_py.options.settings import OPTIONS, Settings


def test_a_comparison_keeps_what_needs_a_restart() -> None:
    change = compare(Settings(port=1, pool_size=2), Settings(port=3, pool_size=4))
    assert (change.changed, change.restart) == (("pool_size",), ("port",))
    assert (change.settings.port, change.settings.pool_size) == (1, 4)
    assert compare(Settings(), Settings()).changed == ()


@pytest.mark.parametrize(
    ("kind", "option"),
    [(Reload.AT_ONCE, {"cull_timeout": 60.0}), (Reload.RENEW, {"mem_limit": 1 << 30})],
)
def test_what_can_change_is_in_force(kind: Reload, option: dict[str, float]) -> None:
    (name,) = option
    options = LiveOptions(Settings())
    change = options.replace(Settings.model_validate(option))
    assert OPTIONS[name].reload is kind
    assert (change.changed, change.restart) == ((name,), ())
    assert options.current is change.settings
    assert getattr(options.current, name) == option[name]


def test_what_needs_a_restart_stays_as_it_was() -> None:
    options = LiveOptions(Settings(port=1))
    assert options.replace(Settings(port=2)).restart == ("port",)
    assert options.current.port == 1
    assert options.replace(Settings(port=1)).restart == ()  # it is what runs that counts


def test_a_derived_value_is_made_once_per_replacement() -> None:
    made: list[Settings] = []

    def double(settings: Settings) -> int:
        made.append(settings)
        return 2 * settings.pool_size

    options = LiveOptions(Settings(pool_size=1))
    derived = options.derive(double)
    assert [derived.value, derived.value] == [2, 2]
    options.replace(Settings(pool_size=5))
    assert [derived.value, derived.value] == [10, 10]
    assert made == [Settings(pool_size=1), Settings(pool_size=5)]


def test_a_derived_value_keeps_what_needs_a_restart() -> None:
    options = LiveOptions(Settings(pool_name="one"))
    name = options.derive(lambda settings: settings.pool_name)
    options.replace(Settings(pool_name="other"))
    assert name.value == "one"


def test_a_derived_value_is_renewed_for_another_reason() -> None:
    names = ["first"]
    options = LiveOptions(Settings())
    derived = options.derive(lambda settings: [settings.ip, *names])
    names.append("second")
    assert derived.value == ["0.0.0.0", "first"]
    options.renew(derived)
    assert derived.value == ["0.0.0.0", "first", "second"]


def test_subscribers_see_the_new_values_and_what_changed() -> None:
    seen: list[tuple[Change, int, int]] = []
    options = LiveOptions(Settings(pool_size=1))
    size = options.derive(lambda settings: settings.pool_size)
    options.subscribe(lambda change: seen.append((change, options.current.pool_size, size.value)))
    change = options.replace(Settings(pool_size=2))
    assert seen == [(change, 2, 2)]
    options.replace(Settings(pool_size=2))  # a reload counts though no option has changed: files may have
    assert [one.changed for one, _, _ in seen] == [("pool_size",), ()]


def test_nothing_changes_where_a_value_cannot_be_made() -> None:
    options = LiveOptions(Settings(pool_size=2))
    size = options.derive(lambda settings: settings.pool_size)
    options.derive(lambda settings: 1 // settings.pool_size)
    before = options.current
    with pytest.raises(ZeroDivisionError):
        options.replace(Settings(pool_size=0))
    assert options.current is before
    assert size.value == 2


def test_boxes_are_independent_of_each_other() -> None:
    """As two pools with options of their own would be."""
    one, other = LiveOptions(Settings(cull_timeout=60.0)), LiveOptions(Settings(cull_timeout=120.0))
    limits = [box.derive(lambda settings: settings.cull_timeout) for box in (one, other)]
    one.replace(Settings(cull_timeout=1.0))
    assert [limit.value for limit in limits] == [1.0, 120.0]


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_every_option_declares_what_a_change_does(option: Option) -> None:
    assert option.reload in Reload
    assert option.is_for("docker")
    if not option.is_for("local"):
        assert option.engines == ("docker",)
