"""Lineage and audit, on SQLite and on PostgreSQL and from the command line."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.registry.makers import write_gguf
from tests.releases.makers import ANNA, make_release
from tests.traces.makers import NOON, SECOND, call, write
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core import events, lineage
from tidemill.core.actors import OWNER
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.core.settings import Settings
from tidemill.deployments import service as deployments
from tidemill.deployments.types import DeploymentCreate, DeploymentNotFound
from tidemill.governance import service
from tidemill.governance.types import LineageAmbiguous, LineageNotFound
from tidemill.server.app import build_kernel


def enter(ctx: Context, node_id: str, kind: str, label: str, *parents: tuple[str, str]) -> None:
    lineage.record(ctx, lineage.LineageNode(id=node_id, kind=kind, label=label), parents)


def test_a_thing_is_traced_up_and_down(ctx: Context) -> None:
    enter(ctx, "dsv_1", "dataset_version", "trec@1")
    enter(ctx, "mv_1", "model_version", "base@1")
    enter(ctx, "tr_1", "tuning_run", "first", ("dsv_1", "trained_on"), ("mv_1", "started_from"))
    enter(ctx, "mv_2", "model_version", "tuned@1", ("tr_1", "trained_by"), ("mv_1", "finetuned_from"))
    enter(ctx, "rel_1", "release", "trec@1", ("mv_2", "serves"))
    found = service.get_lineage(ctx, "tuned@1")
    assert {n.id for n in found.up.nodes} == {"mv_2", "tr_1", "mv_1", "dsv_1"}
    assert {n.id for n in found.down.nodes} == {"mv_2", "rel_1"}
    assert len(found.up.edges) == 4
    assert {n.id for n in service.get_lineage(ctx, "rel_1", depth=1).up.nodes} == {"rel_1", "mv_2"}
    assert service.get_lineage(ctx, "release:trec@1").node.id == "rel_1"
    assert service.get_lineage(ctx, "dataset-version:trec@1").node.id == "dsv_1"
    with pytest.raises(LineageAmbiguous, match="dataset_version:trec@1, release:trec@1"):
        service.get_lineage(ctx, "trec@1")
    enter(ctx, "rel_2", "release", "trec@2")
    enter(ctx, "dep_2", "deployment", "trec@2 in dev", ("rel_2", "deploys"))
    assert service.get_lineage(ctx, "tuned").node.id == "mv_2"
    assert service.get_lineage(ctx, "release:trec").node.id == "rel_2"
    with pytest.raises(LineageAmbiguous, match="dataset_version:trec@1, release:trec@2"):
        service.get_lineage(ctx, "trec")
    with pytest.raises(LineageNotFound) as unknown:
        service.get_lineage(ctx, "tunned")
    assert unknown.value.hint == "Did you mean tuned, tuned@1?"
    for ref in ("trec@3", "gate:trec@1", "Tuned", "%", ""):
        with pytest.raises(LineageNotFound):
            service.get_lineage(ctx, ref)


def test_facts_are_found_by_kind_subject_person_and_time(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        enter(ctx, "rel_1", "release", "trec@1")
        events.emit(ctx, "release.created", "rel_1", {"release": "trec@1"})
        middle = ctx.now
    with kernel.write(ANNA) as ctx:
        later = Context(conn=ctx.conn, actor=ANNA, kernel=kernel, now=middle + timedelta(minutes=1))
        events.emit(later, "approval.requested", "rel_1")
        events.emit(later, "approval.rejected", "rel_1")
        events.emit(later, "prompt.created", "pv_1")

    def kinds(**wanted: object) -> list[str]:
        with kernel.read(OWNER) as ctx:
            return [e.kind for e in service.list_audit_events(ctx, **wanted).items]  # type: ignore[arg-type]

    assert kinds() == ["prompt.created", "approval.rejected", "approval.requested", "release.created"]
    assert kinds(kind="approval.") == ["approval.rejected", "approval.requested"]
    assert kinds(kind="release.created") == ["release.created"]
    assert kinds(actor="anna", subject="trec@1") == ["approval.rejected", "approval.requested"]
    assert kinds(actor="owner") == kinds(until=middle + timedelta(seconds=1)) == ["release.created"]
    assert len(kinds(since=middle + timedelta(seconds=1))) == 3
    assert kinds(subject="pv_1") == ["prompt.created"]
    with pytest.raises(LineageNotFound):
        kinds(subject="nobody")


def test_facts_come_in_pages(ctx: Context) -> None:
    made = [events.emit(ctx, f"test.{n}", "x").kind for n in range(5)]
    first = service.list_audit_events(ctx, limit=3)
    second = service.list_audit_events(ctx, limit=3, cursor=first.next_cursor)
    assert [e.kind for e in [*first.items, *second.items]] == made[::-1]
    assert second.next_cursor is None


def test_a_release_is_traced_to_its_parts(ctx: Context, tmp_path: Path) -> None:
    release = make_release(ctx, tmp_path)
    found = service.get_lineage(ctx, release.id)
    assert [(e.relation, e.child_id) for e in found.up.edges] == [("serves", release.id)]
    ordered = deployments.deploy(ctx, DeploymentCreate(release="hello", environment="dev"))
    assert service.get_lineage(ctx, "dev/hello").node.id == ordered.id
    with pytest.raises(DeploymentNotFound):
        service.get_lineage(ctx, "prod/hello")
    assert [e.kind for e in service.list_audit_events(ctx, subject="hello@1").items] == ["release.created"]


def test_a_release_tells_downward_what_it_answered(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        enter(ctx, "mv_1", "model_version", "base@1")
        enter(ctx, "rel_1", "release", "trec@1", ("mv_1", "serves"))
        enter(ctx, "pv_1", "prompt_version", "triage@1")
        enter(ctx, "dep_1", "deployment", "trec-prod", ("rel_1", "deploys"))
        enter(ctx, "rel_2", "release", "trec@2", ("mv_1", "serves"))
    day = 86_400 * SECOND
    for number, start in enumerate((NOON, NOON + day, NOON + day + SECOND), 1):
        status = "error" if number == 3 else "ok"
        deployment = "dep_1" if number == 1 else None
        write(kernel, call(number, start=start, status=status, release_id="rel_1", deployment_id=deployment,
                           prompt="triage@1"))  # fmt: skip
    with kernel.read(OWNER) as ctx:
        found = service.get_lineage(ctx, "base@1").calls
        assert {key: (c.calls, c.errors) for key, c in found.items()} == {"rel_1": (3, 1), "dep_1": (1, 0)}
        first, newest = (datetime.fromtimestamp(at / SECOND, UTC) for at in (NOON, NOON + day + 2 * SECOND))
        assert (found["rel_1"].first, found["rel_1"].newest) == (first, newest)
        assert service.get_lineage(ctx, "triage@1").calls["pv_1"].calls == 3
        assert service.get_lineage(ctx, "rel_2").calls == {}


def test_the_command_line_shows_both(home: Path, tmp_path: Path) -> None:
    with Client() as client:
        client.models.add(write_gguf(tmp_path / "m.gguf"), name="tiny")
        release = client.releases.create("hello", model="tiny")
        assert client.governance.lineage("hello@1").node.id == release.id
        assert client.governance.audit(kind="release.").items[0].subject == release.id

    def run(*argv: str):
        return CliRunner().invoke(app, argv)

    kernel = build_kernel(Settings(home=home))
    write(kernel, call(1, release_id=release.id))
    kernel.close()
    assert "calls: 1 since" in " ".join(run("lineage", "hello@1").stdout.split())
    shown = run("lineage", "tiny@1").stdout
    assert "was made from nothing" in shown.replace("\n", "")
    assert "hello@1" in shown
    assert json.loads(run("--json", "lineage", "hello@1").stdout)["up"]["edges"][0]["relation"] == "serves"
    listed = run("audit", "list", "--kind", "release.created", "--since", "2020-01-01")
    assert "release.created" in listed.stdout.replace("\n", "")
    assert "Nothing was recorded" in run("audit", "list", "--until", "2020-01-01").stdout
    for argv in (["lineage", "nobody"], ["audit", "list", "--since", "noon"]):
        error = run(*argv).exception
        assert isinstance(error, TidemillError)
        assert error.hint


def test_a_tree_shows_what_is_reached_twice_once(home: Path) -> None:
    with Client():
        pass
    kernel = build_kernel(Settings(home=home))
    with kernel.write(OWNER) as ctx:
        enter(ctx, "a", "thing", "a")
        enter(ctx, "b", "thing", "b", ("a", "from"))
        enter(ctx, "c", "thing", "c", ("a", "from"), ("b", "from"))
        enter(ctx, "d", "thing", "d", ("b", "from"), ("c", "from"))
    kernel.close()
    text = CliRunner().invoke(app, ["lineage", "d"]).stdout
    assert "see above" in text
    assert text.count("thing b") == 2
