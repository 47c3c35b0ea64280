"""Streams of any bytes in any pieces end in chunks of the promised shape or in `BrokenStream`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from polymnia.agents.chunks import BrokenStream, Sample, events, items

ATOMS = [
    *[b"data: ", b"\n", b"\n\n", b"\r\n", b"[DONE]", b": ping", b"null", b"\xff", b"<", b"{", b'"', b","],
    *[b'{"choices": [', b"]}", b'{"error": "x"}', b'{"choices": 5}', b'{"choices": [1, null]}', b'{"choices": null}'],
    b'{"choices": [{"index": "a", "finish_reason": 3, "delta": {"content": 5, "tool_calls": 7}}]}',
    b'{"choices": [{"delta": {"tool_calls": [{"index": 0, "id": 4, "function": {"name": 5, "arguments": [1]}}]}}]}',
    b'{"choices": [{"index": 1, "delta": {"content": "<think>x"}}], "usage": 7}',
]


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@given(st.lists(st.sampled_from(ATOMS), max_size=8), st.integers(1, 40))
def test_whatever_comes(atoms: list[bytes], size: int) -> None:
    async def read() -> None:
        sample = Sample()
        with suppress(BrokenStream):
            async for item in items(pieces(b"".join(atoms), size)):
                for choice in item.get("choices", ()):
                    assert isinstance(choice["index"], int)
                    text, reasoning = sample.read(choice)
                    assert isinstance(text + reasoning, str)

    asyncio.run(read())


def test_the_size_of_the_pieces_does_not_matter() -> None:
    event = 'data: {"choices": [{"index": 0, "delta": {"content": "\u00fc\u2028"}}]}'
    data = f"{event}\r\n\r\n: ping\n\ndata: [DONE]\n\n".encode()

    async def read(size: int) -> list[object]:
        return [item async for item in events(pieces(data, size))]

    first, *others = [asyncio.run(read(size)) for size in (1, 2, 7, 1000)]
    assert len(first) == 2
    assert others == [first] * 3
