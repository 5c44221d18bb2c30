"""What the rules name is nowhere in a stored span, and nothing is stored while the rules cannot be read."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from tidemill.cli import app
from tidemill.client import Client
from tidemill.core.actors import OWNER
from tidemill.core.errors import TidemillError, Unavailable
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now
from tidemill.server.app import build_kernel
from tidemill.traces import service as traces
from tidemill.traces.masking import service
from tidemill.traces.masking.mask import compile_pattern
from tidemill.traces.masking.masker import Masker, build_mask, parse_kinds
from tidemill.traces.ttl_cache import TtlCache
from tidemill.traces.types import EventRecord, LinkRecord, SpanPayload, SpanRecord, TraceFilter
from tidemill.traces.types.masking import (
    MaskingKindUnknown,
    MaskingPatternInvalid,
    MaskingRuleCreate,
    MaskingRuleNotFound,
    MaskingTry,
)
from tidemill.traces.writer import TraceWriter

MAIL = "anna@example.com"


def record(**more: Any) -> SpanRecord:
    held = SpanPayload(
        input=[{"role": "user", "content": f"I am {MAIL}, order A-1234.", "password": "hunter2"}],
        output={"to": [MAIL], "n": 3, "inner": {"Authorization": "Bearer x"}},
        attributes={"question": f"write to {MAIL}", "http.request.header.cookie": "abc", "long": "x" * 500, "n": 1},
        events=[EventRecord(1, "exception", {"exception.message": f"no {MAIL}"})],
        links=[LinkRecord("0" * 32, "0" * 16, {"why": MAIL})],
        resource={"service.name": "shop", "owner": MAIL},
    )
    values = {"name": f"mail {MAIL}", "user": MAIL, "session": "s-1", "status_message": f"bounced: {MAIL}"}
    now = int(utc_now().timestamp() * 1e9)
    ids = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_ns": now, "duration_ns": 10**6}
    return SpanRecord(**(ids | values | {"payload": held} | more))


def add(kernel: Kernel, **rule: Any) -> str:
    with kernel.write(OWNER) as ctx:
        return service.create(ctx, MaskingRuleCreate(**rule)).id


def masked(kernel: Kernel, made: SpanRecord) -> SpanRecord:
    kernel.get(Masker).apply([made])
    return made


def test_without_rules_nothing_is_changed(kernel: Kernel) -> None:
    made = masked(kernel, record())
    assert msgspec.json.encode(made) == msgspec.json.encode(msgspec.structs.replace(record(), start_ns=made.start_ns))


def test_personal_data_is_masked_wherever_it_stands(kernel: Kernel) -> None:
    add(kernel, kinds=["email"])
    made = masked(kernel, record())
    assert MAIL not in msgspec.json.encode(made).decode()
    assert made.payload.input[0]["content"] == "I am [EMAIL], order A-1234."
    assert made.payload.output["to"] == ["[EMAIL]"]
    assert (made.payload.output["n"], made.session, made.payload.resource["service.name"]) == (3, "s-1", "shop")
    again = msgspec.json.encode(made)
    assert msgspec.json.encode(masked(kernel, made)) == again


def test_a_masked_user_is_still_one_user(kernel: Kernel) -> None:
    add(kernel, kinds=["email"])
    users = [masked(kernel, record(user=who)).user for who in (MAIL, "bert@example.com", MAIL)]
    assert users[0] == users[2] != users[1]
    assert users[0].startswith("[EMAIL]:")
    other = build_mask(["email"], [], regions=("US",), content=True, salt="another server")
    assert other.pseudonymize(MAIL) != users[0]


def test_patterns_and_keys_are_masked(kernel: Kernel) -> None:
    add(kernel, pattern=r"\b[A-Z]-[0-9]{4}\b", replacement="<order>")
    add(kernel, keys=["password", "*authorization", "http.request.header.*"])
    made = masked(kernel, record())
    assert made.payload.input[0]["content"] == f"I am {MAIL}, order <order>."
    assert made.payload.input[0]["password"] == "[MASKED]"
    assert made.payload.output["inner"] == {"Authorization": "[MASKED]"}
    assert made.payload.attributes["http.request.header.cookie"] == "[MASKED]"


def test_a_rule_holds_at_once_and_until_it_is_removed(kernel: Kernel) -> None:
    assert masked(kernel, record()).user == MAIL
    rule = add(kernel, kinds=["email"])
    assert masked(kernel, record()).user != MAIL
    with kernel.write(OWNER) as ctx:
        service.remove(ctx, rule)
        with pytest.raises(MaskingRuleNotFound):
            service.remove(ctx, rule)
    assert masked(kernel, record()).user == MAIL


def test_what_is_stored_is_masked(kernel: Kernel) -> None:
    add(kernel, kinds=["email"])
    kernel.get(TraceWriter).write([record()])
    with kernel.read(OWNER) as ctx:
        (span,) = traces.list_spans(ctx, utc_now() - timedelta(hours=1), utc_now(), TraceFilter())
    assert MAIL not in span.model_dump_json()
    assert "[EMAIL]" in span.model_dump_json()


def test_without_contents_names_and_figures_stay(home: Path) -> None:
    kernel = build_kernel(Settings(home=home, trace_content="off"))
    made = masked(kernel, record(input_tokens=7))
    kernel.close()
    assert (made.payload.input, made.payload.output, made.input_tokens) == (None, None, 7)
    assert "long" not in made.payload.attributes
    assert made.payload.attributes["n"] == 1


def test_the_setting_masks_without_any_rule(home: Path) -> None:
    kernel = build_kernel(Settings(home=home, trace_mask="email, secret"))
    assert masked(kernel, record()).payload.output["to"] == ["[EMAIL]"]
    with kernel.read(OWNER) as ctx:
        assert service.state(ctx).always == ["secret", "email"]
    kernel.close()
    assert parse_kinds("all") == parse_kinds("phone,ip,card,iban,email,secret")
    with pytest.raises(MaskingKindUnknown, match="emial"):
        parse_kinds("emial")


@pytest.mark.parametrize("pattern", ["(", "a*", "(?<=x)y", "(a)\\1"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(MaskingPatternInvalid):
        compile_pattern(pattern)


def test_rules_are_kept_while_they_cannot_be_read_and_never_guessed() -> None:
    answers: list[Any] = [Unavailable("no database"), [1], Unavailable("gone again"), [2]]

    def load() -> list[int]:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    cache = TtlCache(load)
    with pytest.raises(Unavailable):
        cache.get()
    assert cache.get() == [1]
    assert cache.get() == [1]
    cache.invalidate()
    assert cache.get() == [1]
    cache.invalidate()
    assert cache.get() == [2]


def test_deep_and_odd_values_pass() -> None:
    mask = build_mask(["email"], [], regions=("US",), content=True, salt="")
    deep: Any = MAIL
    for _ in range(200):
        deep = [deep]
    assert MAIL not in str(mask.mask_value(deep))
    assert mask.mask_value({"a": None, "b": 1.5, "c": True, "d": MAIL.encode()}) == {
        "a": None,
        "b": 1.5,
        "c": True,
        "d": "[EMAIL]",
    }


def test_the_command_line_and_the_sdk(home: Path) -> None:
    with Client() as client:
        made = client.masking.add(kinds=["email"], note="law")
        assert client.masking.state().rules == [made]
        assert client.masking.attempt(f"to {MAIL}").text == "to [EMAIL]"

    def run(*argv: str) -> str:
        return CliRunner().invoke(app, argv, catch_exceptions=False).stdout

    assert "email" in run("masking", "list")
    assert run("masking", "try", MAIL).strip() == "[EMAIL]"
    added = json.loads(run("--json", "masking", "add", "--key", "password"))
    run("masking", "remove", added["id"])
    assert len(json.loads(run("--json", "masking", "list"))["rules"]) == 1
    for argv in (["masking", "add", "--kind", "emial"], ["masking", "add", "--pattern", "("]):
        error = CliRunner().invoke(app, argv).exception
        assert isinstance(error, TidemillError)
        assert error.hint


def test_trying_changes_nothing(kernel: Kernel) -> None:
    with kernel.read(OWNER) as ctx:
        assert service.attempt(ctx, MaskingTry(text=MAIL)).changed is False
