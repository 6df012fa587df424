"""The README: short, with a sample on the first screen, and a comparison that can be checked."""

import asyncio
import re
from contextlib import suppress

import anyio
import pytest

from actorstream.testing import virtual_time
from tests.test_docs import ROOT, anchors, fences, links, parse

README = ROOT / "README.md"
TEXT = README.read_text()
FIRST_SCREEN = 45
"""Lines."""
TOOLS = {"actorstream", "memory stream", "asyncio.Queue", "aiostream", "tractor", "pykka", "Ray"}


def rows() -> list[str]:
    """Read the rows of the table, without its two lines of heading."""
    section = TEXT.partition("\n## Comparison\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][2:]


def opening() -> list[str]:
    """Read the paragraphs before the first sample, without the title."""
    prose = TEXT.partition("```")[0]
    return [" ".join(part.split()) for part in prose.split("\n\n")[1:] if part.strip()]


def test_the_problem_takes_two_sentences_and_the_promise_one():
    """The README begins with exactly those."""
    assert [len(re.findall(r"\.(?: |$)", paragraph)) for paragraph in opening()] == [2, 1]


def test_the_first_screen_has_a_sample_that_runs():
    """The first fence is a program, and it and its output fit on the first screen."""
    first, output = fences(README)[:2]
    assert (first.language, output.language) == ("python", "text")
    assert "anyio.run(main)" in first.text
    assert output.line <= FIRST_SCREEN


def test_the_features_fit_into_eight_bullets():
    """The list below the sample is short."""
    before = TEXT.partition("\n## ")[0]
    assert 1 <= sum(str(part).startswith("- ") for part in parse(before)) <= 8


def test_there_is_one_chart():
    """The README shows one picture, the measured speed, by a relative path."""
    assert re.findall(r"!\[[^\]]+\]\((.*?)\)", TEXT) == ["docs/performance.svg"]


def test_the_readme_leads_to_the_page_of_each_kind():
    """The README links to the tutorial, the guides, the reference and the explanation."""
    kinds = {"tutorial", "how-to", "reference", "design", "errors", "contributing"}
    assert {f"docs/{kind}.md" for kind in kinds} <= set(links(README))


def test_every_alternative_has_its_row():
    """The table has a row for each alternative, and no others."""
    assert len(rows()) == len(TOOLS)
    assert all(any(tool in row.split("|")[1] for row in rows()) for tool in TOOLS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip())
def test_every_row_links_to_its_proof(row):
    """Each row has a link into the docs, and that page and section exist."""
    links = re.findall(r"\]\((docs/[\w-]+\.md)#([\w-]+)\)", row)
    assert links
    assert all(anchor in anchors(ROOT / page) for page, anchor in links)


@pytest.mark.parametrize("row", rows()[1:], ids=lambda row: row.split("|")[1].strip())
def test_every_other_library_has_its_sources(row):
    """The section that a row links to gives an external source for its claims."""
    [(page, anchor)] = re.findall(r"\]\((docs/[\w-]+\.md)#([\w-]+)\)", row)
    sections = re.split(r"^#{2,3} ", (ROOT / page).read_text(), flags=re.M)
    own = [text for text in sections if anchor == slug(text.partition("\n")[0])]
    assert re.search(r"\]\(https://", own[0])


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


async def test_a_memory_stream_tells_a_sender_at_its_next_send():
    """A memory stream whose reader has left raises `BrokenResourceError` at the next `send`."""
    send, receive = anyio.create_memory_object_stream[int](1)
    receive.close()
    with send, pytest.raises(anyio.BrokenResourceError):
        await send.send(1)


async def test_a_memory_stream_hides_a_failure_from_its_reader():
    """To the reader of a memory stream, a sender that fails looks like one that has ended."""
    send, receive = anyio.create_memory_object_stream[int](1)
    with suppress(OSError), send:
        send.send_nowait(1)
        raise OSError("failed")
    with receive:
        assert [item async for item in receive] == [1]


def test_a_queue_has_no_ends():
    """A `put` without a reader waits forever, and so does a `get` after its producer has failed."""

    async def main() -> None:
        queue = asyncio.Queue[int](1)
        for waiting in (queue.get(), fill(queue)):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting, 60)

    async def fill(queue: asyncio.Queue[int]) -> None:
        for number in range(2):
            await queue.put(number)

    anyio.run(main, backend_options=virtual_time())
