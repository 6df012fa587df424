"""A port with several subscribers: one reads every value, one is late, one wants the newest only.

Run it: python port_with_subscribers.py [asyncio|trio]
"""

import sys

import anyio

from actorstream import Actor, ActorStoppedError, MessageRouter, Subscription, handles


class Thermometer(Actor):
    """Publishes its measurements to all subscribers."""

    def __init__(self) -> None:
        self.degrees = self.create_port("degrees", buffer_size=3, overflow="drop_oldest")

    @handles("measure")
    async def measure(self, payload: range) -> None:
        await self.degrees.wait_subscribers(1)
        for degrees in payload:
            await self.degrees.publish(degrees)
            await anyio.sleep(0.001)


async def chart(degrees: Subscription[int]) -> None:
    """Read each value as it arrives, until the thermometer is stopped."""
    line = "the chart:"
    try:
        async for value in degrees:
            line += f" {value}"
    except ActorStoppedError as error:
        print(line)
        print("ended because", error)


async def main() -> None:
    async with MessageRouter() as router:
        router.register_actor("thermometer", Thermometer())
        late = router.subscribe("thermometer", "degrees")
        newest = router.subscribe("thermometer", "degrees", overflow="latest")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chart, router.subscribe("thermometer", "degrees", overflow="wait"))
            async with router.subscribe("thermometer", "degrees") as first:
                await router.tell("thermometer", "measure", range(10, 20))
                print("the first value:", await anext(first))  # then it leaves
            await router.stop_actor("thermometer")  # drains: the measurement runs to its end

        for name, subscription in (("late", late), ("newest", newest)):
            try:
                async for value in subscription:
                    print(f"{name}: {value}")
            except ActorStoppedError:
                print(f"{name}: lost {subscription.dropped} values")


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
