"""Handlers by type: which method gets which message, and what happens to unknown types."""

import functools
from dataclasses import dataclass
from types import coroutine
from typing import Any
from unittest.mock import Mock

import attrs
import pytest

from actorstream import (
    Actor,
    ActorError,
    StreamingNotSupportedError,
    UnhandledMessageError,
    current_message,
    handles,
    streams,
)
from tests.support import serving


class Counter(Actor):
    """Counts; one handler takes the message, another its payload."""

    n = 0

    @handles("increment")
    async def increment(self, message):
        self.n += message.payload
        return self.n

    @handles("set", "reset")
    async def set(self, payload):
        self.n = payload or 0
        return current_message().type, self.n


async def ask(actor: Actor, type: str, payload: object = None) -> object:
    """Ask an actor in a router of its own."""
    async with serving(actor) as router:
        return await router.ask("a", type, payload)


# Which method


async def test_handler():
    """A method marked with a type handles messages of that type; its result is the reply."""
    assert await ask(Counter(), "increment", 2) == 2


async def test_several_types(router):
    """One method may handle several types."""
    router.register_actor("a", Counter())
    assert await router.ask("a", "set", 5) == ("set", 5)
    assert await router.ask("a", "reset") == ("reset", 0)


async def test_decorator_twice():
    """Several decorators on one method add up."""

    class Twice(Actor):
        @handles("a")
        @handles("b", "b")
        async def both(self, payload):
            return payload

    assert await ask(Twice(), "a", 1) == 1
    assert await ask(Twice(), "b", 2) == 2


async def test_receive_is_the_fallback():
    """Messages that match no marked method go to `receive()`."""

    class Fallback(Counter):
        async def receive(self, message):
            return "fallback", message.type, message.payload

    assert await ask(Fallback(), "other", 1) == ("fallback", "other", 1)
    assert await ask(Fallback(), "increment", 1) == 1


async def test_receive_alone():
    """An actor needs no decorators at all."""

    class Plain(Actor):
        async def receive(self, message):
            return message.payload * 2

    assert await ask(Plain(), "any", 2) == 4


async def test_inherited_handlers():
    """A subclass inherits the handlers of its base classes."""

    class Sub(Counter):
        @handles("double")
        async def double(self, payload):
            return payload * 2

    assert await ask(Sub(), "double", 2) == 4
    assert await ask(Sub(), "increment", 1) == 1


async def test_handlers_of_a_mixin():
    """A base class that is not an actor may define handlers, too."""

    class Pings:
        @handles("ping")
        async def ping(self, message):
            return "pong"

    class Sub(Pings, Actor):
        pass

    assert await ask(Sub(), "ping") == "pong"


async def test_type_taken_over():
    """A subclass may handle an inherited type with another method."""

    class Sub(Counter):
        @handles("set")
        async def other(self, payload):
            return "other"

    assert await ask(Sub(), "set") == "other"
    assert await ask(Sub(), "reset", 1) == ("reset", 1)


async def test_override_without_decorator():
    """A method overridden without the decorator still handles its types."""

    class Sub(Counter):
        async def increment(self, message):
            return await super().increment(message) * 10

    assert await ask(Sub(), "increment", 2) == 20


async def test_override_with_another_parameter():
    """Whether an override gets the message or the payload depends on its own parameter name."""

    class Sub(Counter):
        async def increment(self, payload):  # pyright: ignore[reportIncompatibleMethodOverride]
            return payload

    assert await ask(Sub(), "increment", 7) == 7


async def test_override_with_decorator():
    """A method overridden with the decorator handles only the types named there."""

    class Sub(Counter):
        @handles("set")
        async def set(self, payload):  # pyright: ignore[reportIncompatibleMethodOverride]
            return "overridden"

    assert await ask(Sub(), "set") == "overridden"
    with pytest.raises(UnhandledMessageError):
        await ask(Sub(), "reset")


async def test_handler_taken_away():
    """Setting an inherited handler to `None` removes its types."""

    class Sub(Counter):
        set = None  # type: ignore[assignment]

    with pytest.raises(UnhandledMessageError, match="it handles: 'increment'"):
        await ask(Sub(), "set")


def test_two_methods_for_one_type():
    """Two methods of one class for the same type are an error when the class is defined."""
    with pytest.raises(ValueError, match=r"Two has two methods for 'a': one\(\) and two\(\)"):

        class Two(Actor):
            @handles("a")
            async def one(self, message):
                pass

            @handles("a")
            async def two(self, message):
                pass


# Kinds of methods


async def test_plain_method():
    """A handler that never awaits may be a plain method, and so may `receive()`."""

    class Plain(Actor):
        @handles("double")
        def double(self, payload):
            return payload * 2

        def receive(self, message):  # pyright: ignore[reportIncompatibleMethodOverride]
            return message.type

    assert await ask(Plain(), "double", 2) == 4
    assert await ask(Plain(), "other") == "other"


async def test_parameter_of_another_name():
    """A parameter named neither `message` nor `payload` gets the message."""

    class Named(Actor):
        @handles("a")
        async def handle(self, m, extra=None):
            return m.type, m.payload, extra

    assert await ask(Named(), "a", 1) == ("a", 1, None)


@pytest.mark.parametrize("type", ["static", "static-outside", "class", "class-outside"])
async def test_static_and_class_methods(type):
    """Static and class methods may be handlers, with the decorators in either order."""

    class Bare(Actor):
        @staticmethod
        @handles("static")
        async def one(payload):
            return payload

        @handles("static-outside")
        @staticmethod
        async def two(payload):
            return payload

        @classmethod
        @handles("class")
        async def three(cls, payload):
            return payload

        @handles("class-outside")
        @classmethod
        async def four(cls, payload):
            return payload

    assert await ask(Bare(), type, "payload") == "payload"


def logged(method):
    @functools.wraps(method)
    async def wrapper(*args, **kwargs):
        return "logged", await method(*args, **kwargs)

    return wrapper


def unwrapped(method):
    async def wrapper(*args):
        return await method(*args)

    return wrapper


def with_database(method):
    @functools.wraps(method)
    async def wrapper(self, payload):
        return await method(self, payload, "database")

    return wrapper


@pytest.mark.parametrize(
    ("type", "reply"),
    [("above", ("logged", 1)), ("below", ("logged", 1)), ("bare", "bare"), ("db", (1, "database"))],
)
async def test_wrapped_methods(type, reply):
    """A `functools.wraps` wrapper gets what its method takes; any other gets the message."""

    class Wrapped(Actor):
        @logged
        @handles("above")
        async def above(self, payload):
            return payload

        @handles("below")
        @logged
        async def below(self, payload):
            return payload

        @handles("bare")
        @unwrapped
        async def bare(self, payload):
            return payload.type

        @handles("db")
        @with_database
        async def db(self, payload, database):
            return payload, database

    assert await ask(Wrapped(), type, 1) == reply


async def test_partial_method():
    """A partial method may be a handler."""

    class Partial(Actor):
        async def answer(self, prefix, message):
            return prefix, message.payload

        hello = handles("hello")(functools.partialmethod(answer, "hello"))  # type: ignore[type-var]

    assert await ask(Partial(), "hello", "you") == ("hello", "you")


@dataclass
class DataclassActor(Actor):
    step: int

    @handles("add")
    async def add(self, payload):
        return payload + self.step


@attrs.define
class AttrsActor(Actor):
    step: int

    @handles("add")
    async def add(self, payload):
        return payload + self.step


@attrs.frozen
class FrozenAttrsActor(Actor):
    step: int

    @handles("add")
    async def add(self, payload):
        return payload + self.step


@pytest.mark.parametrize("kind", [DataclassActor, AttrsActor, FrozenAttrsActor])
async def test_generated_classes(kind):
    """A dataclass or an attrs class may have handlers."""
    assert await ask(kind(step=2), "add", 1) == 3


def test_attributes_that_answer_everything():
    """An attribute that has every attribute, like a mock, is not taken for a handler."""

    class WithMock(Actor):
        client = Mock()

        @handles("a")
        async def a(self, message):
            pass

    assert WithMock.client.mock_calls == []


def test_handler_without_parameter():
    """A handler without a parameter is an error when the class is defined."""
    with pytest.raises(TypeError, match=r"NoParameter.ping\(\) is called with one argument"):

        class NoParameter(Actor):
            @handles("ping")
            async def ping(self):
                pass


def test_handler_with_two_parameters():
    """A handler or streaming method with two required parameters is an error as well."""
    with pytest.raises(TypeError, match=r"missing a required argument: 'payload'"):

        class TwoParameters(Actor):
            @streams("query")
            async def query(self, message, payload):
                yield


async def test_handler_that_is_a_coroutine_made_of_a_generator():
    """It yields to the event loop only, and may reply."""

    class Old(Actor):
        @handles("ping")
        @coroutine
        def ping(self, message):
            return "pong"
            yield

    assert await ask(Old(), "ping") == "pong"


@pytest.mark.parametrize("decorator", [handles, streams])
def test_method_that_hides_one_of_actor(decorator):
    """A decorated method with the name of one that actors have is an error."""
    with pytest.raises(TypeError, match=r"Hides\.ask\(\) hides Actor\.ask\(\)"):
        type("Hides", (Actor,), {"ask": decorator("ask")(lambda self, message: None)})


async def yields(self, argument=None):
    """Yield where nothing reads the items."""
    yield


def yields_plainly(self, argument=None):
    """Yield where nothing reads the items."""
    yield


@pytest.mark.parametrize("function", [yields, yields_plainly])
@pytest.mark.parametrize("name", ["ping", "receive", "on_start", "on_stop"])
def test_method_that_must_not_yield(name, function):
    """A method whose items nothing reads is an error when the class is defined."""
    method = handles("ping")(function) if name == "ping" else function
    with pytest.raises(TypeError, match=rf"Yields.{name}\(\) yields.*@streams"):
        type("Yields", (Actor,), {name: method})


@pytest.mark.parametrize("decorator", [handles, streams])
def test_no_type(decorator):
    """A decorator without a type is an error that shows what to write."""
    with pytest.raises(ValueError, match=r'write @(handles|streams)\("query"\)'):
        decorator()


@pytest.mark.parametrize("decorator", [handles, streams])
def test_no_parentheses(decorator):
    """A decorator without parentheses, or with a type that is not a string, is an error, too."""
    with pytest.raises(TypeError, match=r'write @(handles|streams)\("query"\)'):
        decorator(lambda self, message: None)
    with pytest.raises(TypeError, match="not 1"):
        decorator("a", 1)


# Unknown types


async def test_unknown_type_of_an_ask():
    """The asker gets `UnhandledMessageError`, which lists the handled types and what to write."""
    with pytest.raises(UnhandledMessageError) as caught:
        await ask(Counter(), "decrement")
    assert str(caught.value) == (
        "@(a) does not handle 'decrement'; it handles: 'increment', 'reset', 'set'; "
        "write @handles('decrement') above a method of Counter, or receive()"
    )
    assert caught.value.message is not None
    assert caught.value.message.type == "decrement"


async def test_unknown_type_is_a_lookup_error():
    """It is a `LookupError`, and says if the actor has no handlers at all."""

    class Mute(Actor):
        pass

    with pytest.raises(LookupError, match="it handles: none"):
        await ask(Mute(), "query")


async def test_unknown_type_of_a_tell(router):
    """A tell of an unknown type becomes a dead letter, and the actor lives on."""
    router.register_actor("a", Counter())
    async with router.dead_letters.subscribe() as letters:
        await router.tell("a", "decrement", 1)
        letter = await anext(aiter(letters))
    assert (letter.to.id, letter.type, letter.payload) == ("a", "decrement", 1)
    assert await router.ask("a", "increment", 1) == 1


class Picky(Actor):
    """Rejects some messages of a type in `receive()`."""

    async def receive(self, message):
        if message.payload == "good":
            return "done"
        return await super().receive(message)


async def test_unhandled_by_hand():
    """A handler rejects an ask by calling `super().receive()`."""
    assert await ask(Picky(), "any", "good") == "done"
    with pytest.raises(UnhandledMessageError, match="does not handle 'any'"):
        await ask(Picky(), "any", "bad")


async def test_unhandled_tell_by_hand(router):
    """A tell that is rejected this way becomes a dead letter."""
    router.register_actor("a", Picky())
    await router.tell("a", "any", "bad")
    assert await router.ask("a", "any", "good") == "done"
    assert router.statistics().dead_letters == 1


class OwnError(Actor):
    async def receive(self, message):
        raise UnhandledMessageError("not today")


async def test_unhandled_with_its_own_text():
    """An actor may raise `UnhandledMessageError` with its own text."""
    with pytest.raises(UnhandledMessageError, match="not today") as caught:
        await ask(OwnError(), "any", 1)
    assert caught.value.message is not None
    assert caught.value.message.payload == 1
    async with serving(OwnError()) as router:
        await router.tell("a", "any")
    assert router.statistics().dead_letters == 1


async def test_unhandled_by_another_actor(router):
    """An actor that passes on an ask which another rejects has failed itself."""

    class Asks(Actor):
        async def receive(self, message):
            return await self.ask("picky", message.type, "bad")

    router.register_actor("a", Asks())
    router.register_actor("picky", Picky())
    with pytest.raises(ActorError) as caught:
        await router.ask("a", "any")
    assert isinstance(caught.value.__cause__, UnhandledMessageError)


# Streaming methods


class Library(Actor):
    """Has a streaming method of every form."""

    @streams("generator")
    async def generator(self, payload):
        yield payload

    @streams("coroutine")
    async def coroutine(self, payload):
        return self.create_async_stream([payload])

    @streams("plain")
    def plain(self, payload):
        return self.create_async_stream([payload])

    @streams("message")
    async def whole(self, message):
        yield message.payload

    @streams("helper", "helper2")
    async def helper(self, payload):
        async for event in self.create_async_stream([payload]):
            yield event

    @staticmethod
    @streams("static")
    async def static(payload):
        yield payload


@pytest.mark.parametrize(
    "type", ["generator", "coroutine", "plain", "message", "helper", "helper2", "static"]
)
async def test_streaming_methods(router, type):
    """A method marked with `@streams` may take any form that `stream_async` may take."""
    router.register_actor("a", Library())
    assert await router.stream_async("a", type, 1).collect() == [1]


async def test_stream_async_is_the_fallback(router):
    """Types that match no marked method go to `stream_async()`."""

    class Fallback(Library):
        async def stream_async(self, payload):
            yield "fallback"

    router.register_actor("a", Fallback())
    assert await router.stream_async("a", "other", 1).collect() == ["fallback"]
    assert await router.stream_async("a", "plain", 1).collect() == [1]


async def test_stream_is_the_fallback(router):
    """Or they go to the older `stream()`, with either form of call."""

    class Fallback(Library):
        async def stream(self, payload, on_chunk):
            await on_chunk("older")

    chunks: list[Any] = []
    router.register_actor("a", Fallback())
    assert await router.stream_async("a", "other").collect() == ["older"]
    await router.stream_ask("a", "plain", 1, on_chunk=chunks.append)
    assert chunks == [1]


async def test_unknown_type_of_a_stream(router):
    """Without a fallback, an unknown type raises an error that lists the known types."""

    class One(Actor):
        @streams("query")
        async def query(self, payload):
            yield

    router.register_actor("a", One())
    with pytest.raises(StreamingNotSupportedError, match=r"'other', only @streams\('query'\)"):
        await router.stream_async("a", "other").collect()


async def test_one_type_both_ways(router):
    """One type may have both a handler and a streaming method."""

    class Both(Actor):
        @handles("words")
        async def all(self, payload):
            return payload.split()

        @streams("words")
        async def each(self, payload):
            for word in payload.split():
                yield word

    router.register_actor("a", Both())
    assert await router.ask("a", "words", "x y") == ["x", "y"]
    assert await router.stream_async("a", "words", "x y").collect() == ["x", "y"]
