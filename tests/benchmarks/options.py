"""The cost of each option: the time of a stream with it over the time of one without."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actors import add_events, add_payloads, entered_router
from backends import Backend
from measure import Figures, Row, Samples, Section, Settings, ratio, rotated, timed

from actorstream import AbortController, MessageRouter

#: Long enough never to fire during a measurement.
SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A set of options, made for each stream, and the name of the variant it is compared with."""

    name: str
    label: str
    make: Callable[[int], dict[str, Any]]
    base: str = "none"
    forms: tuple[str, ...] = field(default=("events", "payloads"))


def fixed(name: str, label: str, base: str = "none", **options: Any) -> Variant:
    """Make a variant whose options are the same for every stream."""
    return Variant(name, label, lambda _: options, base)


def roomy(name: str, label: str, **options: Any) -> Variant:
    """Make a variant whose buffer holds the whole stream, so that no policy drops items."""
    return Variant(name, label, lambda count: {"buffer_size": count, **options}, "room")


def with_signal(_: int) -> dict[str, Any]:
    """Return options with a signal that is never aborted."""
    return {"signal": AbortController().signal}


def with_everything(_: int) -> dict[str, Any]:
    """Return every timeout and a signal."""
    return {
        "signal": AbortController().signal,
        "timeout": SECONDS,
        "first_timeout": SECONDS,
        "idle_timeout": SECONDS,
        "stall_timeout": SECONDS,
    }


VARIANTS = (
    fixed("none", "the defaults"),
    fixed("untimed", "timeout=None", timeout=None),
    fixed("first", "first_timeout", first_timeout=SECONDS),
    fixed("idle", "idle_timeout", idle_timeout=SECONDS),
    fixed("stall", "stall_timeout", stall_timeout=SECONDS),
    Variant("signal", "signal", with_signal),
    Variant("all", "all four timeouts and a signal", with_everything),
    fixed("buffer-1", "buffer_size=1", buffer_size=1),
    fixed("buffer-10", "buffer_size=10", buffer_size=10),
    fixed("buffer-1000", "buffer_size=1000", buffer_size=1000),
    roomy("room", "a buffer for the whole stream"),
    roomy("drop-oldest", 'overflow="drop_oldest"', overflow="drop_oldest"),
    roomy("drop-newest", 'overflow="drop_newest"', overflow="drop_newest"),
    roomy("fail", 'overflow="fail"', overflow="fail"),
)


def take(backend: Backend, settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Run a stream with each set of options once, in one event loop."""
    return backend.run(take_round, settings, round_number)


async def take_round(settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Time each variant, event by event and payload by payload."""
    count = settings.option_items if round_number >= 0 else settings.sizes[0]
    sample: dict[str, list[float]] = {}
    async with entered_router() as router:
        for variant in rotated(VARIANTS, round_number):
            for form in variant.forms:
                key = f"option.{variant.name}.{form}"
                sample[key] = [await time_variant(variant, form, router, count)]
    return sample


async def time_variant(variant: Variant, form: str, router: MessageRouter, count: int) -> float:
    """Return the seconds that one stream with the variant's options takes."""
    consume = {"events": add_events, "payloads": add_payloads}[form]

    async def run() -> int:
        options = variant.make(count)
        return await consume(router.stream_async("generator", "numbers", count, **options))

    return await timed(run, count * (count - 1) // 2, 1)


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return the time of each variant over the time of its base."""
    return {
        f"option.{variant.name}.{form}": ratio(
            samples[f"option.{variant.name}.{form}"], samples[f"option.{variant.base}.{form}"]
        )
        for variant in VARIANTS
        for form in variant.forms
    }


def rows(settings: Settings) -> list[Row]:
    """Show each variant except the bases themselves."""
    return [
        Row(
            f"{variant.label}, {form}" + (" (roomy buffer)" if variant.base == "room" else ""),
            (f"option.{variant.name}.{form}",),
        )
        for variant in VARIANTS
        if variant.name != variant.base
        for form in variant.forms
    ]


SECTION = Section(
    name="options",
    title="Cost of each option",
    note=(
        "Time of a stream with the option, divided by the time of a stream with the defaults: "
        '1.0x is free. The overflow policies are compared with "wait" and the same buffer, which '
        "holds the whole stream, so that nothing is dropped."
    ),
    take=take,
    derive=derive,
    rows=rows,
)
