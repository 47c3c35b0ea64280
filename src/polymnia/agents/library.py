"""`from polymnia import contemplate`: ask from Python, as events or just for the answer, in a script or a notebook.

    asked = contemplate("How many red squares?", images=["board.png"])
    print(asked.result().answer)            # or, in a coroutine: (await asked).answer
    async for event in asked: ...           # everything that happens

Each use asks anew. What is asked for by name is opened and closed here; a model that was passed stays open.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

from PIL import Image

from polymnia.agents.events import Event, RunFinished
from polymnia.agents.model import ChatModel
from polymnia.agents.models import OpenModel, open_model
from polymnia.agents.run import answer, outcome
from polymnia.data.chat import message
from polymnia.data.images import load_image


class Contemplation:
    """A question that can be asked: `async for` it, `await` it, or take its `result()`."""

    def __init__(
        self,
        question: str,
        images: Sequence[Image.Image | Path | str],
        model: ChatModel | str,
        settings: dict[str, Any],
    ) -> None:
        pictures = [one.convert("RGB") if isinstance(one, Image.Image) else load_image(Path(one)) for one in images]
        self._messages = [message("user", *pictures, question)]
        self._model = model
        self._settings = settings

    async def __aiter__(self) -> AsyncIterator[Event]:
        opened: OpenModel | None = None
        model = self._model
        if isinstance(model, str):
            model = opened = await asyncio.to_thread(open_model, model)
        try:
            async with aclosing(answer(self._messages, model=model, **self._settings)) as happened:
                async for event in happened:
                    yield event
        finally:
            if opened is not None:
                await opened.aclose()

    def __await__(self) -> Generator[Any, None, RunFinished]:
        return outcome(aiter(self)).__await__()

    def result(self) -> RunFinished:
        """Wait for the answer; works inside a running event loop too (notebooks), which stands still meanwhile."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._finished())
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._finished()).result()

    async def _finished(self) -> RunFinished:
        return await self


def contemplate(
    question: str,
    *,
    images: Sequence[Image.Image | Path | str] = (),
    model: ChatModel | str = "nano",
    **settings: Any,
) -> Contemplation:
    """A question for several agents; `settings` are those of `polymnia.agents.answer` (`level`, `limits`, `seed`, ...).

    Raises `InputError` for a picture that cannot be read; what else is wrong shows when it is asked.
    """
    return Contemplation(question, images, model, settings)
