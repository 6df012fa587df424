"""The scenes, in their order.

A part returns its facts and prints nothing, so a slow reader of the output changes no measurement.
"""

from collections.abc import Awaitable, Callable

import attrs

from actorstream._demo.counting import count_words
from actorstream._demo.report import Facts
from actorstream._demo.streaming import (
    abort_words,
    outrun_consumer,
    query_session,
    run_out_of_time,
    stop_after_ten,
)
from actorstream._demo.text import Text


@attrs.frozen
class Part:
    """A part of a scene, with its title; `run` takes the text and the query."""

    title: str
    run: Callable[[Text, str], Awaitable[Facts]]


@attrs.frozen
class Scene:
    """A scene, with its title and its parts."""

    title: str
    parts: tuple[Part, ...]


SCENES = (
    Scene(
        "First scene: streams",
        (
            Part("A session, filtered by a query", query_session),
            Part("Words one by one, stopped by an abort", abort_words),
            Part("A fast producer, a slow consumer", outrun_consumer),
            Part("Stopping after ten items, with break", stop_after_ten),
            Part("A timeout", run_out_of_time),
        ),
    ),
    Scene(
        "Second scene: actors that ask each other, fail, and are restarted",
        (Part("A supervised pool of workers that counts words", count_words),),
    ),
)
