"""In-memory texts as a Lightning data module."""

from typing import Any

from calibrant.data.in_memory import InMemoryData
from calibrant.data.text_set import TextSet, TextTask


class TextData(InMemoryData[TextSet]):
    """Loaders over a `TextTask`: batches of word numbers, nothing random in them but their order.

    Args:
        task: the texts.
        loading: how they are read; a stage sets its own before it trains.
    """

    inputs = "tokens"
    samples = "texts"
    task: TextTask

    @property
    def context(self) -> dict[str, Any]:
        """The (V, D) vectors of the words; or the number of the padding token of a tokenizer."""
        if self.task.vectors is None:
            return {"padding": self.task.padding}
        return {"vectors": self.task.vectors}
