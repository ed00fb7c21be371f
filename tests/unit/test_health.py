"""How a pool does: what keeps it from starting and handing out, and what ends that."""

from __future__ import annotations

import pytest

from tmpnb_py.core.errors import EngineDownError, FailureClass, ImageMissingError, LackError
from tmpnb_py.core.models import Failure
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.metrics import PoolMetrics

NOW = 100.0


@pytest.fixture
def health() -> Health:
    return Health("test", PoolMetrics())


def failure(message: str = "it exited", at: float = NOW) -> Failure:
    return Failure(FailureClass.EXITS_AT_ONCE, message, at)


def test_an_engine_that_is_down_is_news_once(health: Health) -> None:
    assert health.engine_failed(EngineDownError("no answer"), NOW)
    assert not health.engine_failed(EngineDownError("no answer"), NOW + 2)
    assert [one.at for one in health.failures] == [NOW + 2], "the same failure again is one, the latest"
    assert health.engine_down
    health.engine_answered()
    health.configured()
    assert (health.engine_down, health.failure) == (False, None)
    assert health.engine_failed(EngineDownError("no answer"), NOW + 60), "and news again"


def test_a_lack_of_our_own_is_no_word_on_the_engine(health: Health) -> None:
    health.lacking(LackError("no file descriptor is left"), NOW)
    assert not health.engine_down
    assert health.failure is not None
    assert health.failure.kind is FailureClass.SHORT


def test_a_start_that_fails_holds_back_the_next_and_one_that_goes_well_ends_that(health: Health) -> None:
    health.start_failed(failure(), container_id="a")
    assert health.failure == failure()
    assert NOW < health.backoff.retry_at < NOW + 1
    health.configured()
    assert health.failure == failure(), "knowing what to start does not make it start"
    health.started()
    assert not health.failure
    assert health.backoff.retry_at < NOW
    assert list(health.failures) == [failure()], "it is remembered"


def test_the_last_start_that_failed_is_no_cause_any_more_where_none_is_missing(health: Health) -> None:
    health.start_failed(failure(), container_id="a")
    health.is_full(NOW)
    assert health.failure == failure(), "a moment ago"
    health.is_full(health.backoff.retry_at)
    assert not health.failure
    assert health.backoff.failures == 1, "the next failure waits longer"


def test_a_missing_image_counts_once_per_backoff(health: Health) -> None:
    error = ImageMissingError("the engine has no image x")
    health.not_configured(error, NOW)
    first = health.backoff
    health.not_configured(error, NOW + 0.01)
    assert health.backoff is first
    health.not_configured(error, first.retry_at)
    assert health.backoff.failures == 2
    health.configured()
    assert (health.failure, health.backoff.failures) == (None, 0), "everything can be started at once"


def test_the_latest_failures_are_remembered(health: Health) -> None:
    for number in range(30):
        health.start_failed(failure(str(number), NOW + number * 1000))
    assert [one.message for one in health.failures] == [str(number) for number in range(10, 30)]


def test_a_refusal_is_not_a_failure(health: Health) -> None:
    health.refused(failure("the disk is full"))
    assert (health.refusal, health.failure) == (failure("the disk is full"), None)
    health.not_refused()
    assert health.refusal is None
