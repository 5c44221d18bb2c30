"""`tidemill releases` and `tidemill gates`, and roles at the door."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.registry.makers import write_gguf
from tests.releases.makers import declare, make_run, make_set
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core.actors import OWNER
from tidemill.core.errors import BadRequest, TidemillError
from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.releases.sdk import Gates, Releases
from tidemill.releases.types import OverrideNeeded, SelfApproval
from tidemill.server.app import build, build_kernel


def run(*argv: str):
    return CliRunner().invoke(app, argv)


def read(*argv: str):
    result = run("--json", *argv)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


class Stranger(InProcessTransport):
    """Calls the application as from outside, so that only the key says who calls."""

    async def _marked(self, scope, receive, send) -> None:
        await self.app(scope, receive, send)


@contextmanager
def opened(home: Path) -> Iterator[Kernel]:
    kernel = build_kernel(Settings(home=home))
    try:
        yield kernel
    finally:
        kernel.close()


@pytest.mark.slow
def test_the_life_of_a_release_on_the_command_line(home: Path, tmp_path: Path) -> None:
    read("models", "add", str(write_gguf(tmp_path / "m.gguf")), "--name", "tiny")
    made = read("releases", "create", "hello", "--model", "tiny", "--temperature", "0", "--stop", "END")
    assert made["manifest"]["sampling"]["stop"] == ["END"]
    read("releases", "create", "hello", "--model", "tiny", "--max-tokens", "9")
    assert [r["number"] for r in read("releases", "list")["items"]] == [2, 1]
    changes = read("releases", "diff", "hello@1", "hello@2")["changes"]
    assert [c["path"] for c in changes] == ["sampling.max_tokens", "sampling.stop", "sampling.temperature"]
    with opened(home) as kernel, kernel.write(OWNER) as ctx:
        eval_set = make_set(ctx)
        declare(ctx, eval_set)
        runs = make_run(ctx, eval_set, 56).id, make_run(ctx, eval_set, 110, release="hello@1").id
    assert [g["used"] for g in read("gates", "list")["items"]] == [False]
    judged = read("gates", "evaluate", "quality", "hello@1", "--baseline", runs[0], "--candidate", runs[1])
    assert judged["verdict"] == "pass"
    asked = read("releases", "request", "hello@1", "--note", "better")
    assert (asked["state"], asked["verdict"]) == ("pending", "pass")
    refused = run("releases", "approve", "hello@1", "--reason", "fine")
    assert isinstance(refused.exception, SelfApproval)
    assert "quality@1" in refused.stdout  # the verdict is shown before the decision
    assert read("releases", "reject", "hello@1", "--reason", "not yet")["state"] == "rejected"
    refused = run("releases", "clearance", "hello@1")
    assert (refused.exit_code, refused.stdout.split()[:2]) == (1, ["allowed", "no"])
    assert "quality@1: pass" in run("releases", "evidence", "hello@1").stdout
    shown = run("releases", "show", "hello@1").stdout
    assert "not yet" in shown


def test_a_gate_is_declared_on_the_command_line(home: Path) -> None:
    with opened(home) as kernel, kernel.write(OWNER) as ctx:
        make_set(ctx)
    terms = ["--eval-set", "questions", "--metric", "accuracy", "--guardrail", "latency_ms=50:lower"]
    gate = read("gates", "declare", "quality", *terms, "--minimum-effect", "0.05", "--alpha", "0.01")
    assert (gate["kind"], gate["alpha"], gate["guardrails"][0]["direction"]) == ("improvement", 0.01, "lower")
    assert read("gates", "show", "quality@1") == gate
    cheap = read("gates", "declare", "cheap", "--eval-set", "questions", "--metric", "accuracy", "--margin", "0.02")
    assert cheap["kind"] == "non_inferiority"


@pytest.mark.parametrize(
    "argv",
    [
        ["gates", "declare", "g", "--eval-set", "e", "--metric", "m"],
        ["gates", "declare", "g", "--eval-set", "e", "--metric", "m", "--margin", "1", "--guardrail", "x"],
        ["gates", "declare", "g", "--eval-set", "e", "--metric", "m", "--margin", "1", "--failures", "hide"],
        ["releases", "create", "r", "--model", "m", "--temperature", "9"],
        ["releases", "create", "r", "--model", "m", "--response-format", "nowhere.json"],
    ],
)
def test_wrong_options_are_said_before_anything_is_sent(home: Path, argv: list[str]) -> None:
    assert isinstance(run(*argv).exception, BadRequest)


def test_what_is_not_there_is_said_with_a_way_on(home: Path) -> None:
    for argv in (["releases", "show", "x"], ["gates", "show", "x"], ["releases", "approve", "x", "--reason", "y"]):
        error = run(*argv).exception
        assert isinstance(error, TidemillError)
        assert error.hint


def test_roles_and_persons_are_kept_apart_at_the_door(home: Path, tmp_path: Path) -> None:
    with Client() as owner:
        owner.models.add(write_gguf(tmp_path / "m.gguf"), name="tiny")
        keys = {}
        for name, role in (("anna", "developer"), ("bert", "approver"), ("cleo", "approver")):
            owner.access.create_person(name, roles=[role])
            keys[name] = owner.access.create_key(name).secret
    application = build(Settings(home=home))

    def door(name: str) -> Http:
        return Http("http://t", api_key=keys[name], transport=Stranger(application.asgi))

    anna, bert = door("anna"), door("bert")
    release = Releases(anna).create("hello", model="tiny")
    with pytest.raises(TidemillError) as refused:
        Releases(bert).request("hello")
    assert refused.value.code == "role_missing"
    approval = Releases(anna).request("hello")
    with pytest.raises(TidemillError) as refused:
        Releases(anna).approve(approval.id, reason="mine")
    assert refused.value.code == "role_missing"
    with pytest.raises(OverrideNeeded):
        Releases(bert).approve(approval.id, reason="fine")
    done = Releases(bert).approve(approval.id, reason="fine", override="no gate can see this yet")
    assert (done.requested_by_name, done.decided_by_name) == ("anna", "bert")
    assert Releases(anna).clearance(release.id).allowed
    assert Gates(anna).list().items == []
    for http in (anna, bert):
        http.close()
    application.kernel.close()
