"""From a span and what people said about it to one row, or the reason why there is none."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

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
class Opinion:
    """What people's feedback on one answer comes to."""

    value: float | None = None
    correction: JsonValue = None
    corrected_by: str | None = None
    """The end user who corrected, when an application sent it for them."""
    disputed: bool = False
    given: bool = False


@dataclass(frozen=True)
class Made:
    """A span with its row, or with the reason why it has none."""

    span: SpanDetail
    giver: str
    row: dict[str, Any] | None = None
    reason: Reason | None = None
    corrected: bool = False


def opinion(scores: Sequence[Score], name: str) -> Opinion:
    """Feedback of one name on one answer, put together.

    The mean of the values, and the latest correction. A correction by one of the team (given in their own name) goes
    before those that end users sent; when end users correct one answer differently, it is disputed.
    """
    given = [s for s in scores if s.source == "person" and s.name == name]
    values = [s.value for s in given if s.value is not None]
    corrections = [s for s in given if s.correction is not None]
    team = [s for s in corrections if s.author == s.recorded_by]
    chosen = max(team or corrections, key=lambda s: (s.at, s.id), default=None)
    told = {canonical_json(s.correction) for s in corrections}
    return Opinion(
        value=sum(values) / len(values) if values else None,
        correction=chosen.correction if chosen is not None else None,
        corrected_by=chosen.author if chosen is not None and chosen not in team else None,
        disputed=not team and len(told) > 1,
        given=bool(given),
    )


def make(span: SpanDetail, said: Opinion, spec: ToDataset) -> Made:
    """The row of one answer."""
    correction = said.correction if spec.use_correction else None
    corrected = correction is not None
    giver = (said.corrected_by if corrected else None) or span.user or span.key_id or ANONYMOUS
    reason = _refused(span, said, spec, corrected)
    if reason is not None:
        return Made(span, giver, reason=reason, corrected=corrected)
    answer = correction if corrected else extract_answer(span.output)
    row, lacking = _row(span, answer, spec)
    if row is None:
        return Made(span, giver, reason=lacking, corrected=corrected)
    row["cluster_id"] = span.session or span.user or span.trace_id
    row["time"] = span.start.isoformat()
    return Made(span, giver, row=row, corrected=corrected)


def _refused(span: SpanDetail, said: Opinion, spec: ToDataset, corrected: bool) -> Reason | None:
    liked = said.value is not None and said.value >= spec.liked_from
    wanted = {"all": True, "judged": said.given, "liked": liked or corrected, "corrected": said.correction is not None}
    if not wanted[spec.only]:
        return "not_wanted"
    if spec.use_correction and said.disputed:
        return "disputed"
    if span.status == "error" and not corrected:
        return "failed"
    # Nobody learns from an answer that people turned down; only its question is worth something.
    if said.value is not None and not liked and not corrected and spec.row_schema != "text":
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
    """The label in an answer: the text itself, or the field of a JSON object (its only one when none is named)."""
    value = answer
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            value = answer
    if isinstance(value, dict):
        names = [field] if field is not None else list(value) if len(value) == 1 else []
        value = value.get(names[0]) if names else None
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        return None
    label = value.strip()
    return label if 0 < len(label) <= 200 and "\n" not in label else None


def capped(made: Iterable[Made], cap: int | None) -> list[Made]:
    """The same, with the rows of one user beyond the cap in quarantine.

    Which rows stay is drawn by a hash of their ids: nobody chooses by asking early or late.
    """
    found = list(made)
    if cap is None:
        return found
    taken: Counter[str] = Counter()
    over = set()
    rows = (place for place, item in enumerate(found) if item.row is not None)
    for place in sorted(rows, key=lambda place: _draw(found[place].span)):
        taken[found[place].giver] += 1
        if taken[found[place].giver] > cap:
            over.add(place)
    return [
        Made(item.span, item.giver, reason="over_cap", corrected=item.corrected) if place in over else item
        for place, item in enumerate(found)
    ]


def _draw(span: SpanDetail) -> bytes:
    return hashlib.sha256(f"{span.trace_id}:{span.span_id}".encode()).digest()
