"""The `Actor` base class: what it provides, and which of its methods stream."""

import copy
import pickle
from dataclasses import dataclass, field
from typing import Any

import attrs
import pytest

from actorstream import (
    Actor,
    ActorStoppedError,
    ChildSpec,
    Message,
    MessageRouter,
    RouterClosedError,
    Supervisor,
    address,
    streams,
)
from actorstream.testing import Probe


class Counter(Actor):
    """Counts up to its payload; its `__init__` does not call `super().__init__()`."""

    def __init__(self, step: int = 1) -> None:
        self.step = step

    async def stream_async(self, payload):
        for number in range(0, payload, self.step):
            yield number


def test_address_and_router():
    """A registered actor knows its address and its router."""
    router, actor = MessageRouter(), Counter()
    router.register_actor("workers/a", actor)
    assert actor.address == address("workers/a")
    assert actor.router is router


@pytest.mark.parametrize("name", ["address", "router"])
def test_address_and_router_before(name):
    """Before registration, reading either one raises an error that says what to write."""
    with pytest.raises(AttributeError, match=rf"Counter has no {name} before.*register_actor\("):
        getattr(Counter(), name)


@pytest.mark.parametrize("name", ["address", "router"])
async def test_address_and_router_after(name):
    """After unregistration, an actor has neither an address nor a router."""
    router, actor = MessageRouter(), Counter()
    router.register_actor("a", actor)
    await router.unregister_actor("a")
    with pytest.raises(AttributeError, match=f"no {name}"):
        getattr(actor, name)


async def test_repr(router):
    """The `repr` shows the actor's class and its address."""
    actor = Counter()
    assert repr(actor) == "<Counter unregistered>"
    router.register_actor("a", actor)
    assert repr(actor) == "<Counter @(a)>"


# Attributes of its own with the names `address` and `router`


class WithAttributes(Counter):
    """Sets them, like the client of a device."""

    def __init__(self) -> None:
        super().__init__()
        self.address: Any = "10.0.0.1"
        self.router: Any = "cisco"


class WithClassAttributes(Counter):
    """Has them in the class."""

    address: Any = "10.0.0.1"
    router: Any = "cisco"


class WithProperties(Counter):
    """Computes them."""

    @property
    def address(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "10.0.0.1"

    @property
    def router(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "cisco"


class WithBadProperties(Counter):
    """Cannot compute them."""

    @property
    def address(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("not connected")

    router: Any = address


@dataclass(eq=False, repr=False)
class WithFields(Counter):
    """Has them as fields."""

    address: Any = "10.0.0.1"
    router: Any = "cisco"
    step: int = 1


@attrs.define(eq=False, repr=False)
class WithSlots(Counter):
    """Has them in slots."""

    address: Any = "10.0.0.1"
    router: Any = "cisco"
    step: int = 1


class Uses(Actor):
    """Uses all that the library knows of the address and the router."""

    async def on_start(self):
        self.port = self.create_port("port")

    async def receive(self, message):
        await self.tell("probe", "told")
        self.tell_nowait("probe", "told")
        return await self.ask("probe", "asked")

    @streams("helped")
    def help(self, payload):
        return self.create_async_stream([1])


OWN = [
    WithAttributes,
    WithClassAttributes,
    WithProperties,
    WithBadProperties,
    WithFields,
    WithSlots,
]


@pytest.mark.parametrize("kind", OWN)
async def test_own_address_and_router(router, kind):
    """An actor may use these names for its own: the runtime does not read them."""

    actor, probe = type("Both", (Uses, kind), {})(), Probe()
    router.register_actor("probe", probe)
    assert "unregistered" in repr(actor)
    router.register_actor("a", actor)
    assert "@(a)" in repr(actor)
    await router.ask("a", "x")
    assert [message.sender for message in probe.messages] == [address("a")] * 3
    assert await router.stream_async("a", "query", 3).collect() == [0, 1, 2]
    [event, _] = [event async for event in router.stream_async("a", "helped")]
    assert event.sender == address("a")
    async with router.subscribe("a", "port") as values:
        await actor.port.publish("value")
        assert await anext(values) == "value"
    if kind is not WithBadProperties:
        assert (actor.address, actor.router) == ("10.0.0.1", "cisco")
    await router.stop_actor("a")
    with pytest.raises(RouterClosedError):
        actor.tell_nowait("probe", "x")


def test_address_and_router_are_properties_of_the_class():
    """Tools that document a class see them so."""
    assert isinstance(Actor.address, property)
    assert "The address" in str(Actor.address.__doc__)


async def test_short_private_names_belong_to_the_subclass(router):
    """A subclass may use any short private name for its own attributes."""

    class Own(Counter):
        _handlers = _streamers = "mine"

        def __init__(self) -> None:
            super().__init__()
            self._cell = self._registry = self._ports = self._joined = self._own_address = "mine"

        async def receive(self, message: Message) -> object:
            return self._cell, self.create_port("p").name, self.address.id

    router.register_actor("a", Own())
    assert await router.ask("a", "look") == ("mine", "p", "a")
    assert await router.stream_async("a", "query", 2).collect() == [0, 1]


async def test_address_and_router_after_the_routers_exit():
    """After its router has exited, an actor has no router."""
    actor = Counter()
    async with MessageRouter() as router:
        router.register_actor("a", actor)
    with pytest.raises(AttributeError, match="no router"):
        _ = actor.router


async def test_state_of_the_actor(router):
    """One actor serves many streams, all of which see its state."""
    router.register_actor("a", Counter(step=2))
    for _ in range(2):
        assert await router.stream_async("a", "query", 5).collect() == [0, 2, 4]


async def test_stream_async_comes_first(router):
    """An actor with both streaming forms uses `stream_async`."""

    class Both(Counter):
        async def stream(self, payload, on_chunk):
            pytest.fail("the older form was called")

    router.register_actor("a", Both())
    assert await router.stream_async("a", "query", 2).collect() == [0, 1]


async def test_static_stream_async(router):
    """`stream_async` may be a static method or a class method."""

    class Static(Actor):
        @staticmethod
        async def stream_async(payload):
            yield payload

    class OfClass(Actor):
        @classmethod
        async def stream_async(cls, payload):
            yield cls.__name__

    router.register_actor("static", Static())
    router.register_actor("class", OfClass())
    assert await router.stream_async("static", "query", 1).collect() == [1]
    assert await router.stream_async("class", "query").collect() == ["OfClass"]


@dataclass
class DataclassActor(Actor):
    words: list[str] = field(default_factory=list)

    async def stream_async(self, payload):
        for word in self.words:
            yield word


@dataclass(frozen=True)
class FrozenDataclassActor(Actor):
    words: tuple[str, ...] = ()

    async def stream_async(self, payload):
        for word in self.words:
            yield word


@attrs.define
class AttrsActor(Actor):
    words: list[str]

    async def stream_async(self, payload):
        for word in self.words:
            yield word


@attrs.frozen
class FrozenAttrsActor(Actor):
    words: list[str]

    async def stream_async(self, payload):
        for word in self.words:
            yield word


@pytest.mark.parametrize(
    "kind", [DataclassActor, FrozenDataclassActor, AttrsActor, FrozenAttrsActor]
)
async def test_generated_classes(router, kind):
    """An actor may be a dataclass or an attrs class, hashable or not, frozen or not."""
    actor = kind(["a", "b"])
    router.register_actor("a", actor)
    assert await router.stream_async("a", "query").collect() == ["a", "b"]
    assert actor.address == address("a")


async def test_equal_actors(router):
    """Two actors that compare equal are still registered as two actors."""
    for name in ("a", "b"):
        router.register_actor(name, DataclassActor([name]))
    await router.unregister_actor("a")
    assert await router.stream_async("b", "query").collect() == ["b"]


class Clonable(Actor):
    """Defined here, so that it can be pickled."""


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda actor: pickle.loads(pickle.dumps(actor))]
)
async def test_a_clone_of_an_actor_is_not_registered(router, clone):
    """Whatever the original has been through, a clone can be registered beside it."""
    original = Clonable()
    repr(original)
    router.register_actor("first", clone(original))
    router.register_actor("second", clone(original))
    router.register_actor("original", original)
    router.register_actor("third", clone(original))
    assert original.address == address("original")
    assert router.get_actor("third").address == address("third")


@pytest.mark.parametrize("way", ["ask", "tell", "tell_nowait"])
async def test_an_old_instance_sends_nothing_after_its_restart(router, way):
    """It has ended: the error says so, and does not tell to register it."""
    made = []

    class Fragile(Actor):
        def __init__(self):
            made.append(self)

        async def receive(self, message):
            if message.type == "fail":
                raise ValueError("failed")

    router.register_actor("pool", Supervisor([ChildSpec("a", Fragile)]))
    await router.tell("pool/a", "fail")
    await router.ask("pool/a", "x")

    async def send():
        sent = getattr(made[0], way)("pool/a", "x")
        if sent is not None:
            await sent

    with pytest.raises(ActorStoppedError, match=r"was @\(pool/a\) until a restart") as caught:
        await send()
    assert "register" not in str(caught.value)
