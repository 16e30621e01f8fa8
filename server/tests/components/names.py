"""A name server under the test's control: what a name resolves to, answer by answer."""

import asyncio
from collections import Counter
from collections.abc import Sequence


class Names:
    """Answers look-ups. A name has a list of answers, given in turn; the last one stays."""

    def __init__(self, **names: Sequence[str]) -> None:
        self._answers = {name: [list(answer)] for name, answer in names.items()}
        self.asked: Counter[str] = Counter()
        self.hanging = asyncio.Event()
        self._silent: set[str] = set()

    def say(self, name: str, *answers: Sequence[str]) -> None:
        """Answer so from now on; several answers come one after the other."""
        self._answers[name] = [list(answer) for answer in answers]

    def hang(self, name: str) -> None:
        """Never answer for this name, until ``hanging`` is set."""
        self._silent.add(name)

    async def __call__(self, name: str) -> Sequence[str]:
        """Look a name up."""
        self.asked[name] += 1
        if name in self._silent:
            await self.hanging.wait()
        answers = self._answers.get(name)
        if answers is None:
            raise OSError("Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]
