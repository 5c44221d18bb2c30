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
from tidemill.core.parsing import parse_json
from tidemill.demo.context import DemoContext
from tidemill.demo.evaluation import RELEASE

MODEL = f"prod/{RELEASE}"
CONCURRENCY = 6
USERS = 60
GROUP = 12
"""Questions that are asked, and then judged, together: an analysis that goes on meanwhile sees both."""
SCORE = "feedback"


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer that a user got, and whether it was right."""

    response_id: str
    right: bool
    label: str
    text: str


class SimulatedUsers:
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
        """Return the session id of question `number`."""
        return f"{self.batch}-{number}"

    def list_answered(self) -> dict[str, JudgedAnswer]:
        """Return the answers judged in an earlier run of the demo, by session."""
        answers: dict[str, JudgedAnswer] = {}
        texts = {self.session(n): row for n, row in enumerate(self.rows)}
        for score in self.demo.owner.scores.list(name=SCORE, environment="prod", limit=500):
            if score.session in texts and score.response_id is not None:
                row = texts[score.session]
                answers[score.session] = JudgedAnswer(score.response_id, score.value == 1, row["label"], row["text"])
        return answers

    def ask(self, label: str) -> list[JudgedAnswer]:
        """Ask what was not asked before, with a progress bar; return all answers."""
        answered = self.list_answered()
        answers = list(answered.values())
        remaining = [n for n in range(len(self.rows)) if self.session(n) not in answered]
        with self._bar(label, len(self.rows), len(answers)) as step:
            for start in range(0, len(remaining), GROUP):
                answers += self.ask_group(remaining[start : start + GROUP])
                step(len(answers) + self.failed)
        return answers

    def ask_group(self, numbers: Sequence[int]) -> list[JudgedAnswer]:
        """Ask some questions at once, send their users' feedback, and return the answers."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            answers = [h for h in pool.map(self._ask_one, numbers) if h is not None]
        self.failed += len(numbers) - len(answers)
        if answers:
            judgements = [
                {
                    "response_id": h.response_id,
                    "thumbs": "up" if h.right else "down",
                    "correction": json.dumps({"type": h.label}),
                    "user": self._user(h.text),
                }
                for h in answers
            ]
            reply = self.demo.owner.scores.feedback_bulk(judgements)
            for item in reply.items:
                if item.error is not None:
                    raise TidemillError(f"Feedback was refused: {item.error.message}")
        return answers

    def close(self) -> None:
        """Close the connection to the gateway."""
        self._openai.close()

    def _user(self, text: str) -> str:
        return f"{self.batch.split('-')[0]}-user-{sum(text.encode()) % USERS}"

    def _ask_one(self, number: int) -> JudgedAnswer | None:
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
        return JudgedAnswer(
            reply.id, _parse_label(reply.choices[0].message.content) == row["label"], row["label"], row["text"]
        )

    @contextmanager
    def _bar(self, label: str, total: int, done: int) -> Iterator[Any]:
        columns = (TextColumn("    {task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.demo.out, transient=True) as progress:
            task = progress.add_task(label, total=total, completed=done)
            yield lambda completed: progress.update(task, completed=completed)


def _parse_label(answer: str | None) -> str | None:
    try:
        parsed = parse_json(answer or "")
    except ValueError:
        return None
    return parsed.get("type") if isinstance(parsed, dict) else None


def accuracy(answers: Sequence[JudgedAnswer]) -> float:
    """Return the share of right answers; 0 without any."""
    return sum(h.right for h in answers) / max(len(answers), 1)
