"""What people at once need."""

from __future__ import annotations

import pytest

from tmpnb_py.cli.commands.plan import DEFAULTS, SYSTEM_MEMORY, Figures, Machine, plan_for
from tmpnb_py.core.units import GIB, MIB

FIGURES = Figures(
    start_seconds=1.0,
    start_cpu=0.5,
    memory_ready=50 * MIB,
    memory_working=90 * MIB,
    kernel_cpu=0.4,
    image=GIB,
    disk=MIB,
)
MACHINE = Machine(memory=8 * GIB, cpus=2)


def test_thirty_people() -> None:
    plan = plan_for(30, ready=10, mem_limit=512 * MIB, figures=FIGURES, machine=MACHINE)
    assert plan.memory_full == SYSTEM_MEMORY + 30 * 512 * MIB + 10 * 50 * MIB
    assert SYSTEM_MEMORY + 30 * 90 * MIB < plan.memory < plan.memory_full
    assert plan.cpus == 2
    assert plan.fill_seconds == pytest.approx(40 * 0.5 / 2)
    assert plan.disk > GIB + 40 * 2 * MIB


def test_warm_kernels_take_memory_and_time() -> None:
    plan = plan_for(30, ready=10, mem_limit=512 * MIB, figures=FIGURES, machine=MACHINE, is_warm=True)
    assert plan.memory_full == SYSTEM_MEMORY + 30 * 512 * MIB + 10 * 90 * MIB
    assert plan.fill_seconds == pytest.approx(40 * 0.9 / 2)


def test_nobody_takes_more_than_the_limit() -> None:
    plan = plan_for(10, ready=0, mem_limit=64 * MIB, figures=FIGURES, machine=MACHINE)
    assert plan.memory == plan.memory_full == SYSTEM_MEMORY + 10 * 64 * MIB


def test_more_people_need_more_of_everything() -> None:
    small = plan_for(1, ready=1, mem_limit=512 * MIB, figures=DEFAULTS, machine=None)
    large = plan_for(1000, ready=1, mem_limit=512 * MIB, figures=DEFAULTS, machine=None)
    assert (small.cpus, small.fill_seconds) == (1, None)
    assert large.cpus >= 20
    assert large.memory > small.memory
    assert large.disk > small.disk
