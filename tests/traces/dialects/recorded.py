"""Spans that real instrumentations sent for the same five calls, and spans made by hand."""

import json
from pathlib import Path
from typing import Any

from tidemill.traces.raw import RawSpan
from tidemill.traces.types import EventRecord, LinkRecord

SPANS = Path(__file__).parent / "spans"


def recorded(dialect: str) -> list[RawSpan]:
    """The spans of one sender: a chat, a stream, a chat with tools, a model that is not there, an embedding."""
    return [_raw(one) for one in json.loads((SPANS / f"{dialect}.json").read_text())]


def _raw(one: dict[str, Any]) -> RawSpan:
    ids = {name: bytes.fromhex(one[name]) for name in ("trace_id", "span_id", "parent_id") if one[name]}
    events = [EventRecord(**event) for event in one.get("events", [])]
    links = [LinkRecord(**link) for link in one.get("links", [])]
    return RawSpan(**(one | {"parent_id": None, "events": events, "links": links} | ids))


def span(attributes: dict[str, Any], **more: Any) -> RawSpan:
    """A span of one second."""
    made = {"name": "work", "start_ns": 10**18, "end_ns": 10**18 + 10**9}
    return RawSpan(trace_id=b"t" * 16, span_id=b"s" * 8, attributes=attributes, **(made | more))
