"""Every async test runs on asyncio, on asyncio with uvloop, and on trio, without a decorator.

asyncio and trio run on virtual clocks, which jump to the next deadline when every task sleeps, so
that tests of timeouts take no time. uvloop cannot do that: there, a test's unit of time is short
but real. A virtual clock does not wait for threads or processes; a test that does is marked
``real_clock``.
"""

import gc
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from importlib.util import find_spec
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

from actorstream import MessageRouter, testing

UVLOOP = "asyncio+uvloop"
REAL_UNIT = 0.05

# The fixtures below are made once per test, not per example. That is fine: no example leaves
# anything in them. A deadline would measure the machine.
settings.register_profile(
    "actorstream", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("actorstream")


@pytest.fixture(
    params=[
        "asyncio",
        pytest.param(
            UVLOOP, marks=pytest.mark.skipif(not find_spec("uvloop"), reason="needs uvloop")
        ),
        "trio",
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return the backend's name and its options, made for this test, for AnyIO's pytest plugin."""
    if request.param == UVLOOP:
        import uvloop

        return "asyncio", {"loop_factory": uvloop.new_event_loop}
    if request.node.get_closest_marker("real_clock"):
        return request.param, {}
    return request.param, testing.virtual_time(request.param)


@pytest.fixture
def virtual_time(anyio_backend: tuple[str, dict[str, Any]]) -> bool:
    """Whether this test runs on a virtual clock."""
    _, options = anyio_backend
    return "clock" in options or options.get("loop_factory") is testing.VirtualTimeLoop


@pytest.fixture
def unit(virtual_time: bool) -> float:
    """One unit of this test's time, in seconds."""
    return 1.0 if virtual_time else REAL_UNIT


@pytest.fixture
async def router(request: pytest.FixtureRequest) -> AsyncIterator[MessageRouter]:
    """Yield an open router; after the test it must hold nothing, before and after its exit."""
    async with MessageRouter() as router:
        yield router
        await testing.settle(20)
        if request.node.get_closest_marker("real_clock"):
            await _wait_for_threads(router)
        testing.assert_nothing_left(router)
    testing.assert_nothing_left(router)


async def _wait_for_threads(router: MessageRouter) -> None:
    """Wait for the last call of each thread, which takes an unknown number of the loop's turns."""
    with anyio.move_on_after(5):
        while router.statistics().active_streams:
            await anyio.sleep(0.001)


@pytest.fixture(autouse=True)
def _no_garbage_left() -> Iterator[None]:
    """Collect garbage after each test, so that pytest reports a leak in the test that caused it.

    What is still there, such as pytest's reports, is left out of the next collections.
    """
    yield
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """Exclude the objects that exist before the first test from every ``gc.collect()``."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """Mark every async test for AnyIO; its option ``anyio_mode`` is too new to rely on."""
    if isinstance(collector, pytest.Module | pytest.Class) and collector.istestfunction(obj, name):
        handle = getattr(obj, "hypothesis", None)
        if inspect.iscoroutinefunction(handle.inner_test if handle else obj):
            pytest.mark.anyio(obj)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Remove AnyIO's wrapper from a Hypothesis test; older versions keep the first backend's."""
    handle = getattr(pyfuncitem.obj, "hypothesis", None)
    if handle is None:
        return (yield)
    inner_test = handle.inner_test
    try:
        return (yield)
    finally:
        handle.inner_test = inner_test
