"""The options in force: what a replacement takes on, derived values, and who is told."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from tmpnb_py.core.models import Gap, Protection
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.options.declaration import Reload, option
from tmpnb_py.options.live import Change, LiveOptions, compare
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import refused, without_effect
from tmpnb_py.pools.configuration import PoolConfiguration


def test_a_comparison_keeps_what_needs_a_restart() -> None:
    change = compare(Settings(port=1, pool_size=2), Settings(port=3, pool_size=4))
    assert (change.changed, change.restart) == (("pool_size",), ("port",))
    assert (change.settings.port, change.settings.pool_size) == (1, 4)
    assert compare(Settings(), Settings()).changed == ()


@pytest.mark.parametrize(
    ("kind", "given"),
    [(Reload.AT_ONCE, {"cull_timeout": 60.0}), (Reload.RENEW, {"mem_limit": 1 << 30})],
)
def test_what_can_change_is_in_force(kind: Reload, given: dict[str, float]) -> None:
    (name,) = given
    options = LiveOptions(Settings())
    change = options.replace(Settings.model_validate(given))
    assert OPTIONS[name].reload is kind
    assert (change.changed, change.restart) == ((name,), ())
    assert options.current is change.settings
    assert getattr(options.current, name) == given[name]


def test_what_needs_a_restart_stays_as_it_was() -> None:
    options = LiveOptions(Settings(port=1))
    assert options.replace(Settings(port=2)).restart == ("port",)
    assert options.current.port == 1
    assert options.replace(Settings(port=1)).restart == ()  # it is what runs that counts


def test_a_derived_value_is_made_once_per_replacement() -> None:
    made: list[Settings] = []

    def double(settings: Settings) -> int:
        made.append(settings)
        return 2 * settings.base_size

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
    size = options.derive(lambda settings: settings.base_size)
    options.subscribe(lambda change: seen.append((change, options.current.base_size, size.value)))
    change = options.replace(Settings(pool_size=2))
    assert seen == [(change, 2, 2)]
    options.replace(Settings(pool_size=2))  # a reload counts though no option has changed: files may have
    assert [one.changed for one, _, _ in seen] == [("pool_size",), ()]


def test_nothing_changes_where_a_value_cannot_be_made() -> None:
    options = LiveOptions(Settings(pool_size=2))
    size = options.derive(lambda settings: settings.base_size)
    options.derive(lambda settings: 1 // settings.base_size)
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


class Recording(Settings):
    """Settings that remember which options were asked for."""

    asked: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in OPTIONS:
            self.asked.add(name)
        return super().__getattribute__(name)


async def test_what_containers_are_made_of_renews_them_or_needs_a_restart() -> None:
    """Nothing else: a pool must not be renewed for an option that is in force at once, nor keep old containers."""
    async with FakeHost() as host:
        host.gaps = (Gap(Protection.NETWORK, "it reaches 10.0.0.1", ""),)
        options = LiveOptions(Recording(image="fake", accept_missing=("network",)))
        Recording.asked.clear()
        await PoolConfiguration(FakeEngine(host, pool="pool"), options).resolve()
    renewing = {name for name, option in OPTIONS.items() if option.reload is Reload.RENEW}
    renewing.remove("warm_kernels")  # for which it asks what chooses them (`workshops.warming`)
    assert renewing <= Recording.asked
    assert {OPTIONS[name].reload for name in Recording.asked - renewing} == {Reload.RESTART}


def test_what_only_some_engines_understand_is_declared() -> None:
    names = {name for name, option in OPTIONS.items() if not option.is_for("local")}
    swarm_only = {"swarm_relays", "swarm_secret", "swarm_constraint", "node_grace"}
    assert {name for name, option in OPTIONS.items() if not option.is_for("docker")} == swarm_only
    assert all(OPTIONS[name].is_for("swarm") for name in swarm_only)
    settings = Settings(cpu_shares=512, docker_network="n")
    assert {"cpu_shares", "docker_network"} <= names
    assert (without_effect(settings, "local"), refused(settings, "local")) == (["cpu_shares"], ["docker_network"])
    assert (without_effect(settings, "docker"), refused(settings, "docker")) == ([], [])


def test_an_option_says_what_its_change_does() -> None:
    with pytest.raises(TypeError, match="reload"):
        option(1, "An option that does not say it.")  # type: ignore[call-arg]
