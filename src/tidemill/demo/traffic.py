"""Users: they ask through the gateway with the `openai` package, and say what the right answer was."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openai import OpenAI, OpenAIError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tidemill.core.errors import TidemillError
from tidemill.demo.context import DemoContext
from tidemill.demo.evaluation import RELEASE

MODEL = f"prod/{RELEASE}"
AT_ONCE = 6
USERS = 60
GROUP = 12
"""Questions that are asked, and then judged, together: an analysis that goes on meanwhile sees both."""
SCORE = "feedback"


@dataclass(frozen=True)
class Heard:
    """What a user got, and whether it was right."""

    response_id: str
    right: bool
    label: str
    text: str


class Crowd:
    """Users who ask one batch of questions. A batch that was begun before goes on after its last judged question."""

    def __init__(self, demo: DemoContext, batch: str, rows: Sequence[dict[str, Any]]) -> None:
        self.demo = demo
        self.batch = batch
        self.rows = list(rows)
        self.failed = 0
        self._openai = OpenAI(
            base_url=f"{demo.owner.http.base_url}/v1", api_key=demo.key("dana"), max_retries=3, timeout=120
        )

    def session(self, number: int) -> str:
        """The conversation of question `number`."""
        return f"{self.batch}-{number}"

    def known(self) -> dict[str, Heard]:
        """What was asked and judged before, by session."""
        answers: dict[str, Heard] = {}
        texts = {self.session(n): row for n, row in enumerate(self.rows)}
        for score in self.demo.owner.scores.list(name=SCORE, environment="prod", limit=500):
            if score.session in texts and score.response_id is not None:
                row = texts[score.session]
                answers[score.session] = Heard(score.response_id, score.value == 1, row["label"], row["text"])
        return answers

    def ask(self, label: str) -> list[Heard]:
        """Ask everything that was not asked before; shows how far it is."""
        known = self.known()
        heard = list(known.values())
        left = [n for n in range(len(self.rows)) if self.session(n) not in known]
        with self._bar(label, len(self.rows), len(heard)) as step:
            for start in range(0, len(left), GROUP):
                heard += self.group(left[start : start + GROUP])
                step(len(heard) + self.failed)
        return heard

    def group(self, numbers: Sequence[int]) -> list[Heard]:
        """Ask some questions at once, then send what their users say."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            heard = [h for h in pool.map(self._one, numbers) if h is not None]
        self.failed += len(numbers) - len(heard)
        if heard:
            said = [
                {
                    "response_id": h.response_id,
                    "thumbs": "up" if h.right else "down",
                    "correction": json.dumps({"type": h.label}),
                    "user": self._user(h.text),
                }
                for h in heard
            ]
            reply = self.demo.owner.scores.feedback_bulk(said)
            for item in reply.items:
                if item.error is not None:
                    raise TidemillError(f"Feedback was refused: {item.error.message}")
        return heard

    def close(self) -> None:
        """Close the connection to the gateway."""
        self._openai.close()

    def _user(self, text: str) -> str:
        return f"{self.batch.split('-')[0]}-user-{sum(text.encode()) % USERS}"

    def _one(self, number: int) -> Heard | None:
        row = self.rows[number]
        try:
            reply = self._openai.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": row["text"]}],
                user=self._user(row["text"]),
                extra_headers={"x-tidemill-session": self.session(number)},
            )
        except OpenAIError:
            return None
        return Heard(reply.id, _said(reply.choices[0].message.content) == row["label"], row["label"], row["text"])

    @contextmanager
    def _bar(self, label: str, total: int, done: int) -> Iterator[Any]:
        columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.demo.out, transient=True) as progress:
            task = progress.add_task(label, total=total, completed=done)
            yield lambda completed: progress.update(task, completed=completed)


def _said(answer: str | None) -> str | None:
    try:
        parsed = json.loads(answer or "")
    except ValueError:
        return None
    return parsed.get("type") if isinstance(parsed, dict) else None


def share_right(heard: Sequence[Heard]) -> float:
    """Share of right answers."""
    return sum(h.right for h in heard) / max(len(heard), 1)
