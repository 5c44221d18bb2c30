"""Monitors from outside: SDK and command line over HTTP, roles, and secrets on the wire."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from tests.traffic import keep_scores, traffic
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core.http import InProcessTransport
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now
from tidemill.monitors.types import MonitorNotFound
from tidemill.notifications.types import AlertNotFound
from tidemill.pipelines.types import PipelineSpec
from tidemill.server.app import build_kernel
from tidemill.slos.types import SloNotFound
from tidemill.triggers.types import ConditionsNotMet


@pytest.fixture
def world(home, client: Client) -> Client:
    """A home with an objective that burns and an indicator that fell."""
    kernel = build_kernel(Settings(home=home))
    traffic(kernel, utc_now(), timedelta(hours=1), 100, bad=50)
    keep_scores(kernel, "feedback", [1.0, 0.0] * 40, users=40)
    kernel.close()
    client.slos.put("answers", kind="errors", goal=0.99, target={"environment": "prod"})
    client.kpis.put("thumbs", score="feedback", floor=0.8)
    return client


def here(*arguments: str, fails: bool = False) -> str:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=fails)
    assert (done.exit_code != 0) == fails, done.output
    return done.output


def test_the_loop_from_an_objective_to_an_alert_and_its_end(world: Client) -> None:
    status = world.slos.status("answers")
    assert (status.verdict, status.counts.bad, status.alerts) == ("fail", 50, [])
    checked = world.monitors.check("answers")
    assert checked.slo is not None
    assert (checked.kpi, checked.drift, len(checked.slo.alerts)) == (None, None, 2)
    (page,) = [a for a in world.alerts.list(state="open").items if a.severity == "page"]
    assert world.alerts.acknowledge(page.id, "on it").state == "acknowledged"
    assert world.alerts.resolve(page.id, "fixed").resolved_by == "owner"
    history = world.alerts.get(page.id).history
    assert [(h.what, h.note) for h in history] == [("opened", ""), ("acknowledged", "on it"), ("resolved", "fixed")]
    states = {m.name: m for m in world.monitors.list().items}
    assert states["answers"].verdict == "fail"
    assert states["thumbs"].verdict is None


def test_a_trigger_by_hand_over_http(world: Client) -> None:
    world.pipelines.apply(PipelineSpec(name="support"))
    world.triggers.put("retrain", pipeline="support", dataset="trec", max_age_s=60, slos=["answers"])
    with pytest.raises(ConditionsNotMet):
        world.triggers.fire("retrain", "now")
    fired = world.triggers.fire("retrain", "now", both=True)
    assert world.triggers.firings("retrain").items == [fired]
    assert world.triggers.settle(fired.id, minutes=3, run_id="run_1").spent_minutes == 3
    assert world.triggers.status("retrain").cooling_until is not None


def test_what_fired_a_trigger_in_version_0_1_still_does(world: Client) -> None:
    world.pipelines.apply(PipelineSpec(name="support"))
    for name in ("route", "method", "command"):
        world.triggers.put(name, pipeline="support", dataset="trec", max_age_s=60)
    reply = world.http.client.post("/api/triggers/route/turn", json={"reason": "now", "both": True})
    assert (reply.status_code, reply.headers["deprecation"]) == (201, "true")
    with pytest.warns(DeprecationWarning, match="triggers.fire"):
        assert world.triggers.turn("method", "now", both=True).by == "owner"
    assert "is now `tidemill triggers fire`" in here("triggers", "turn", "command", "--reason", "now", "--both")
    assert len(world.triggers.firings("command").items) == 1


def test_a_kpi_series_over_http(world: Client) -> None:
    (point,) = world.kpis.series("feedback", step_s=7 * 86400).points
    assert (point.scores, point.mean, point.units) == (80, 0.5, 40)
    assert world.kpis.report("thumbs").verdict == "fail"


def test_a_notifier_s_secrets_go_in_and_never_come_out(client: Client) -> None:
    saved = client.notifiers.put("ops", kind="webhook", url="https://hooks.example/T0/s3cr3t")
    assert saved.secret is not None
    assert client.notifiers.put("ops", kind="webhook", url="https://hooks.example/T0/s3cr3t").secret is None
    assert client.notifiers.get("ops").target == "https://hooks.example/…"
    assert client.notifiers.test("ops").state == "waiting"
    everything = [
        client.notifiers.list(),
        client.notifiers.deliveries("ops"),
        client.governance.audit(limit=100),
    ]
    assert "s3cr3t" not in "".join(page.model_dump_json() for page in everything)
    reply = client.http.client.put("/api/notifiers/bad", json={"kind": "webhook", "secret": "s3cr3t"})
    assert reply.status_code == 422
    assert "s3cr3t" not in reply.text


def test_roles(home, client: Client) -> None:
    client.access.create_person("dev", roles=["developer"])
    key = client.access.create_key("dev").secret
    assert isinstance(client.http.client._transport, InProcessTransport)
    headers = {"authorization": f"Bearer {key}"}
    send = client.http.client.request
    body = {"kind": "webhook", "url": "http://169.254.169.254/"}
    assert send("PUT", "/api/notifiers/x", json=body, headers=headers).status_code == 403
    assert send("PUT", "/api/slos/x", json={"kind": "errors", "goal": 0.9}, headers=headers).status_code == 200


def test_what_is_not_there(client: Client) -> None:
    with pytest.raises(SloNotFound):
        client.slos.status("nothing")
    with pytest.raises(MonitorNotFound):
        client.monitors.check("nothing")
    with pytest.raises(AlertNotFound):
        client.alerts.get("alr_nothing")
    reply = client.http.client.put("/api/slos/Bad Name", json={"kind": "errors", "goal": 0.9})
    assert reply.status_code == 422


@pytest.mark.slow
def test_the_command_line_reads_like_a_report(world: Client) -> None:
    assert "99.00% calls without error over 30d" in here("slo", "list")
    shown = here("slo", "show", "answers")
    assert "50.00% of 100" in shown
    assert "burning" in shown
    assert "1h: 50x (50/100)" in shown
    assert "page" in here("slo", "check", "answers")
    assert "open" in here("alerts", "list")
    alert_id = world.alerts.list().items[0].id
    assert "opened" in here("alerts", "show", alert_id)
    assert "acknowledged" in here("alerts", "ack", alert_id, "--note", "mine")
    assert "fail" in here("monitors", "check", "thumbs")
    assert "rel_1" in here("kpi", "series", "feedback")
    here("slo", "set", "fast", "--latency", "2000", "--goal", "0.95", "--window", "7d", "--env", "prod")
    assert "95.00% calls within 2000 ms over 7d (environment prod)" in here("slo", "list")
    here("kpi", "set", "stars", "--score", "stars", "--drop", "0.5")
    world.pipelines.apply(PipelineSpec(name="support"))
    here(
        "triggers", "set", "retrain", "--pipeline", "support", "--dataset", "trec", "--max-age", "30d", "--slo", "fast"
    )
    assert "(trec older than 30d) and (slo fast or a person)" in here("triggers", "list")
    assert "not met" in here("triggers", "show", "retrain")
    assert "fired" in here("triggers", "fire", "retrain", "--reason", "now", "--both")
    assert "by hand: now" in here("triggers", "firings", "retrain")
    made = here("notifiers", "slack", "team", "--url", "https://hooks.slack.com/services/s3cr3t")
    assert "s3cr3t" not in made
    assert "hooks.slack.com" in made
    assert json.loads(here("--json", "monitors", "list"))["items"][0]["name"] == "answers"
    for command in (["slo", "remove", "fast"], ["kpi", "remove", "stars"], ["notifiers", "remove", "team"]):
        assert "removed" in here(*command)


def test_the_command_line_refuses_what_it_cannot_read(client: Client) -> None:
    assert client.slos.list().items == []
    here("slo", "set", "x", "--goal", "0.9", fails=True)
    here("slo", "set", "x", "--goal", "0.9", "--errors", "--window", "soon", fails=True)
    assert client.slos.list().items == []
