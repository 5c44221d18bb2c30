"""Builds one row of a span and people's feedback on it, or says why there is none."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from tidemill.core.labels import label_text
from tidemill.core.parsing import parse_json
from tidemill.core.wire import canonical_json
from tidemill.data.types import RowSchema
from tidemill.feedback.types.collections import Reason, ToDataset
from tidemill.feedback.types.scores import Score
from tidemill.traces.service import extract_answer, extract_messages, to_text
from tidemill.traces.types import SpanDetail

ANONYMOUS = "anonymous"
FIELDS: dict[RowSchema, tuple[str, ...]] = {
    "chat": ("messages",),
    "completion": ("prompt", "completion"),
    "classification": ("text", "label"),
    "text": ("text",),
    "eval": ("input", "expected", "metadata"),
}
_SYSTEM = {"system", "developer"}
_ROLES = {"system", "developer", "user", "assistant", "tool"}


@dataclass(frozen=True)
class FeedbackSummary:
    """People's feedback on one answer, put together."""

    value: float | None = None
    correction: JsonValue = None
    corrected_by: str | None = None
    """The end user who corrected, when an application sent it for them."""
    disputed: bool = False
    has_feedback: bool = False


@dataclass(frozen=True)
class CollectedAnswer:
    """A span with its row, or with the reason why it has none."""

    span: SpanDetail
    user: str
    """Whom the row counts for: who corrected it, who asked, or the key."""
    row: dict[str, Any] | None = None
    reason: Reason | None = None
    corrected: bool = False


def summarize_feedback(scores: Sequence[Score], name: str) -> FeedbackSummary:
    """Return feedback of one name on one answer, put together.

    The mean of the values, and the latest correction. A correction by one of the team (given in their own name) goes
    before those that end users sent; when end users correct one answer differently, it is disputed.
    """
    named_scores = [s for s in scores if s.source == "person" and s.name == name]
    values = [s.value for s in named_scores if s.value is not None]
    corrections = [s for s in named_scores if s.correction is not None]
    team = [s for s in corrections if s.author == s.recorded_by]
    latest = max(team or corrections, key=lambda s: (s.at, s.id), default=None)
    distinct = {canonical_json(s.correction) for s in corrections}
    return FeedbackSummary(
        value=sum(values) / len(values) if values else None,
        correction=latest.correction if latest is not None else None,
        corrected_by=latest.author if latest is not None and latest not in team else None,
        disputed=not team and len(distinct) > 1,
        has_feedback=bool(named_scores),
    )


def build_row(span: SpanDetail, summary: FeedbackSummary, spec: ToDataset) -> CollectedAnswer:
    """Return the answer with its row, or with the reason why it has none."""
    correction = summary.correction if spec.use_correction else None
    corrected = correction is not None
    user = (summary.corrected_by if corrected else None) or span.user or span.key_id or ANONYMOUS
    reason = _rejection(span, summary, spec, corrected)
    if reason is not None:
        return CollectedAnswer(span, user, reason=reason, corrected=corrected)
    answer = correction if corrected else extract_answer(span.output)
    row, missing = _row(span, answer, spec)
    if row is None:
        return CollectedAnswer(span, user, reason=missing, corrected=corrected)
    row["cluster_id"] = span.session or span.user or span.trace_id
    row["time"] = span.start.isoformat()
    return CollectedAnswer(span, user, row=row, corrected=corrected)


def _rejection(span: SpanDetail, summary: FeedbackSummary, spec: ToDataset, corrected: bool) -> Reason | None:
    liked = summary.value is not None and summary.value >= spec.liked_from
    selected = {
        "all": True,
        "judged": summary.has_feedback,
        "liked": liked or corrected,
        "corrected": summary.correction is not None,
    }
    if not selected[spec.only]:
        return "not_wanted"
    if spec.use_correction and summary.disputed:
        return "disputed"
    if span.status == "error" and not corrected:
        return "failed"
    # A rejected answer must not be trained on; only its question is worth something.
    if summary.value is not None and not liked and not corrected and spec.row_schema != "text":
        return "disliked"
    return None


def _row(span: SpanDetail, answer: JsonValue, spec: ToDataset) -> tuple[dict[str, Any] | None, Reason]:
    messages = [m for m in extract_messages(span.input) if m["role"] in _ROLES]
    if not spec.keep_system:
        messages = [m for m in messages if m["role"] not in _SYSTEM]
    question = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    if not question.strip():
        return None, "no_input"
    if spec.row_schema == "text":
        return {"text": question}, "no_input"
    if spec.row_schema == "classification":
        label = label_of(answer, spec.label_field)
        return ({"text": question, "label": label} if label else None), "no_label"
    text = to_text(answer)
    if not text.strip():
        return None, "no_answer"
    if spec.row_schema == "chat":
        return {"messages": [*messages, {"role": "assistant", "content": text}]}, "no_answer"
    if spec.row_schema == "completion":
        return {"prompt": _prompt(messages, question), "completion": text}, "no_answer"
    origin = {"trace_id": span.trace_id, "span_id": span.span_id, "response_id": span.response_id}
    return {"input": question, "expected": text, "metadata": origin | {"release_id": span.release_id}}, "no_answer"


def _prompt(messages: Sequence[dict[str, str]], question: str) -> str:
    return question if len(messages) == 1 else "\n".join(f"{m['role']}: {m['content']}" for m in messages)


def label_of(answer: JsonValue, field: str | None) -> str | None:
    """Return the label in an answer: the text itself, or the field of a JSON object (without a name, its only one)."""
    value = answer
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = parse_json(value)
        except ValueError:
            value = answer
    if isinstance(value, dict):
        names = [field] if field is not None else list(value) if len(value) == 1 else []
        value = value.get(names[0]) if names else None
    label = label_text(value)
    return label if label is not None and len(label) <= 200 and "\n" not in label else None


def cap_rows_per_user(answers: Iterable[CollectedAnswer], cap: int | None) -> list[CollectedAnswer]:
    """Return the answers, with the rows of one user beyond the cap in quarantine.

    A hash of their ids decides which rows stay, so that nobody can choose them by asking early or late.
    """
    items = list(answers)
    if cap is None:
        return items
    rows_of_user: Counter[str] = Counter()
    over_cap = set()
    row_places = (place for place, item in enumerate(items) if item.row is not None)
    for place in sorted(row_places, key=lambda place: _hash(items[place].span)):
        rows_of_user[items[place].user] += 1
        if rows_of_user[items[place].user] > cap:
            over_cap.add(place)
    return [
        CollectedAnswer(item.span, item.user, reason="over_cap", corrected=item.corrected)
        if place in over_cap
        else item
        for place, item in enumerate(items)
    ]


def _hash(span: SpanDetail) -> bytes:
    return hashlib.sha256(f"{span.trace_id}:{span.span_id}".encode()).digest()
