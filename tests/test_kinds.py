"""Objects whose own code fails in everything that the runtime could ask of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from actorstream import (
    AbortController,
    Actor,
    ActorError,
    ChildSpec,
    MessageRouter,
    StreamAbortedError,
    StreamError,
    StreamingNotSupportedError,
    Supervisor,
    handles,
)
from actorstream._kinds import is_a, is_awaitable
from tests.support import HELPERS, ActorOf, CallbackActorOf, HelperActor


def fail(*_: object) -> Any:
    raise RuntimeError("hostile")


QUESTIONS = [
    *("__class__", "__repr__", "__str__", "__format__", "__eq__", "__hash__", "__bool__"),
    *("__len__", "__getattr__"),
]
ANSWERS: dict[str, Any] = dict.fromkeys(QUESTIONS, fail) | {"__class__": property(fail)}


@pytest.fixture(params=[*QUESTIONS, "all"])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return what makes an object of a hostile class, with a given base class."""
    names = QUESTIONS if request.param == "all" else [request.param]

    def make(base: type = object) -> Any:
        return type("Hostile", (base,), {name: ANSWERS[name] for name in names})()

    return make


class Echo(Actor):
    """Replies with the payload, raises it, keeps it, or publishes it."""

    def __init__(self) -> None:
        self.kept: list[object] = []
        self.values = self.create_port("values")

    async def receive(self, message: Any) -> Any:
        return message.payload

    @handles("plain")
    def plain(self, payload: object) -> object:
        return payload

    @handles("raise")
    async def fail(self, payload: Any) -> None:
        raise payload

    @handles("keep")
    async def keep(self, payload: object) -> None:
        self.kept.append(payload)

    @handles("publish")
    async def publish(self, payload: object) -> None:
        await self.values.publish(payload)


@pytest.fixture
async def living(router: MessageRouter) -> AsyncIterator[MessageRouter]:
    """Yield an open router, which serves its other actors after the test."""
    router.register_actor("other", Echo())
    yield router
    assert await router.ask("other", "q", 1) == 1


def only(items: list[Any], wanted: object) -> bool:
    """Return whether a list has one item, which is the wanted object."""
    return len(items) == 1 and items[0] is wanted


@pytest.mark.parametrize("type", ["plain", "other"])
async def test_a_payload_and_a_reply(living, make, type):
    hostile = make()
    assert await living.ask("other", type, hostile) is hostile


async def test_a_payload_of_a_tell(living, make):
    hostile, actor = make(), Echo()
    living.register_actor("a", actor)
    await living.tell("a", "keep", hostile)
    await living.ask("a", "q", None)
    assert only(actor.kept, hostile)


async def test_a_payload_that_reaches_no_actor(living, make):
    await living.tell("nobody", "q", make())


async def test_an_item_of_a_generator(living, make):
    hostile = make()

    async def stream(payload: object) -> AsyncIterator[object]:
        yield payload

    living.register_actor("a", ActorOf(stream))
    assert only(await living.stream_async("a", "q", hostile).collect(), hostile)


async def test_an_item_of_a_callback_actor(living, make):
    hostile = make()
    living.register_actor("a", CallbackActorOf(lambda on_chunk: on_chunk(hostile)))
    assert only(await living.stream_async("a", "q").collect(), hostile)


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_an_item_of_a_helper(living, make, helper):
    hostile = make()
    living.register_actor("a", HelperActor(lambda actor: getattr(actor, helper)([hostile])))
    assert only(await living.stream_async("a", "q").collect(), hostile)


async def test_an_item_of_a_callback_stream(living, make):
    """What the function that unhooks returns is not looked at, either."""
    hostile = make()

    def register(push: Any) -> Callable[[], object]:
        push(hostile)
        push.end()
        return lambda: hostile

    living.register_actor("a", HelperActor(lambda actor: actor.create_callback_stream(register)))
    assert only(await living.stream_async("a", "q").collect(), hostile)


async def test_a_published_value(living, make):
    hostile = make()
    async with living.subscribe("other", "values") as values:
        await living.ask("other", "publish", hostile)
        assert await anext(values) is hostile


@pytest.mark.parametrize("base", [object, Exception])
async def test_the_reason_of_an_abort(living, make, base):
    async def stream(payload: object) -> AsyncIterator[object]:
        yield payload
        await anyio.sleep_forever()

    living.register_actor("a", ActorOf(stream))
    reason, controller = make(base), AbortController()
    payloads = living.stream_async("a", "q", signal=controller.signal).payloads()
    await anext(payloads)
    controller.abort(reason)
    with pytest.raises(StreamAbortedError) as caught:
        await anext(payloads)
    assert caught.value.reason is reason
    assert all(map(repr, (controller, controller.signal, caught.value)))


async def test_the_exception_of_a_handler(living, make):
    hostile = make(Exception)
    with pytest.raises(ActorError) as caught:
        await living.ask("other", "raise", hostile)
    assert caught.value.__cause__ is hostile


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", [None, *HELPERS])
async def test_the_exception_of_a_stream(living, make, helper):
    hostile = make(Exception)

    async def stream(payload: object) -> AsyncIterator[object]:
        yield payload
        raise hostile

    def items() -> Any:
        yield 1
        raise hostile

    living.register_actor("a", ActorOf(stream))
    if helper:
        living.register_actor("b", HelperActor(lambda actor: getattr(actor, helper)(items())))
    with pytest.raises(StreamError) as caught:
        await living.stream_async("b" if helper else "a", "q").collect()
    assert caught.value.__cause__ is hostile


async def test_the_exception_of_a_clean_up(living, make):
    """It is logged, and the router lives."""
    hostile = make(Exception)

    async def stream(payload: object) -> AsyncIterator[object]:
        try:
            yield payload
        finally:
            raise hostile

    living.register_actor("a", ActorOf(stream))
    async for _ in living.stream_async("a", "q"):
        break


async def test_the_exception_of_a_child(living, make):
    """Its supervisor restarts the child."""
    living.register_actor("s", Supervisor([ChildSpec("a", Echo)]))
    await living.tell("s/a", "raise", make(Exception))
    assert await living.ask("s/a", "q", 2) == 2


async def test_the_exception_that_ends_a_router(make):
    """The router raises it, or an ``ActorError`` from it if a task group cannot deal with it."""
    hostile, router = make(Exception), MessageRouter()
    router.register_actor("a", Echo())
    with pytest.raises(ExceptionGroup) as caught:
        await tell_and_wait(router, "raise", hostile)
    (error,) = caught.value.exceptions
    assert error is hostile or (type(error) is ActorError and error.__cause__ is hostile)


async def tell_and_wait(router: MessageRouter, type: str, payload: object) -> None:
    async with router:
        await router.tell("a", type, payload)
        await anyio.sleep_forever()


async def test_what_on_chunk_returns(living, make):
    async def stream(payload: object) -> AsyncIterator[object]:
        yield payload

    living.register_actor("a", ActorOf(stream))
    await living.stream_ask("a", "q", 1, on_chunk=lambda chunk: make())


async def test_what_on_backpressure_returns(living, make):
    def open(actor: Actor) -> Any:
        return actor.create_async_stream_with_backpressure(
            iter([1, 2]), check_interval=1, on_backpressure=lambda is_paused: make()
        )

    living.register_actor("a", HelperActor(open))
    assert await living.stream_async("a", "q").collect() == [1, 2]


async def returning(value: object) -> object:
    return value


@pytest.mark.parametrize("wrap", [lambda made: made, returning])
async def test_what_is_streamed(living, make, wrap):
    hostile = make()
    living.register_actor("a", ActorOf(lambda payload: wrap(hostile)))
    with pytest.raises(StreamingNotSupportedError, match="not an async iterable"):
        await living.stream_async("a", "q").collect()


async def test_what_register_returns(living, make):
    hostile = make()
    living.register_actor(
        "a", HelperActor(lambda actor: actor.create_callback_stream(lambda push: hostile))
    )
    with pytest.raises(StreamError, match="register returned"):
        await living.stream_async("a", "q").collect()


async def test_what_a_factory_returns(make):
    """The child fails like one whose factory raises."""
    made: list[Any] = [Echo(), make()]
    supervisor = Supervisor([ChildSpec("a", lambda: made.pop(0))], max_restarts=1)
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("s", supervisor)
        await router.tell("s/a", "raise", make(Exception))
        await router.wait_stopped("s")
    assert not made


def make_pretender(answer: Any) -> Any:
    """Return an object that gives an answer of its own when it is asked for its class."""
    return type("Pretender", (Awaitable,), {"__class__": property(answer), "__await__": fail})()


def test_a_proxy_is_what_it_stands_for():
    assert is_a(make_pretender(lambda self: int), int)


def test_an_object_without_a_class_is_judged_by_its_type():
    hostile = make_pretender(fail)
    assert is_awaitable(hostile)
    assert is_a(hostile, Awaitable)
    assert not is_a(hostile, int)
