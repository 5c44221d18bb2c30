"""Every Python name in the documentation of 0.1.0 still works; those that moved say where they are now."""

import json
import math
import operator
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from tidemill.client import Client
from tidemill.jobs.context import JobContext
from tidemill.stats.rates import wilson

NAMES = """
tidemill:Client
tidemill.client:Client
tidemill.core.wire:Body
tidemill.evals.service:noninferiority
tidemill.evals.types:EvalItem
tidemill.evals.types:Score
tidemill.pipelines.types:DataSection
tidemill.pipelines.types:EvalSection
tidemill.pipelines.types:PipelineSpec
tidemill.pipelines.types:SourceFile
tidemill.tuning.types:TuneSubmit
"""

MOVED = """
tidemill.deployments.rollouts.sequential:Comparison
tidemill.evals.service:minimum_detectable_effect
tidemill.evals.service:paired_comparison
tidemill.evals.service:wilson
tidemill.monitors.channels:verify
"""

CLIENT = """
access.create_key access.create_person access.revoke_key blobs.get blobs.put data.import_ data.preview drift.check
drift.create evals.online.create gates.declare gates.evaluate governance.audit governance.lineage jobs.list masking.add
masking.attempt masking.remove masking.state models.add models.alias_history models.get models.move_alias
pipelines.apply pipelines.plan prices.create prices.end prices.quote prompts.create prompts.get prompts.list
prompts.render releases.clearance releases.create releases.request rollouts.list rollouts.show rollouts.start
rollouts.wait runs.start runs.wait scores.series slos.put slos.status traces.collections.version traces.feedback
traces.feedback_bulk traces.get traces.list traces.series traces.to_dataset tuning.run tuning.wait
"""

JOB = "step progress run_process wait_for wait_job wait_until sleep work"


@pytest.mark.parametrize("name", NAMES.split())
def test_names_stand_where_they_stood(name: str) -> None:
    module, attribute = name.split(":")
    assert getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", MOVED.split())
def test_names_that_moved_say_so(name: str) -> None:
    module, attribute = name.split(":")
    with pytest.warns(DeprecationWarning, match="import .* from tidemill") as warnings:
        exec(f"from {module} import {attribute}", {})
    assert [warning.filename for warning in warnings] == ["<string>"], "it names the line that imports"
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        import_module(module).other  # noqa: B018


def test_the_client_and_jobs_have_every_method(client: Client) -> None:
    for path in CLIENT.split():
        assert callable(operator.attrgetter(path)(client)), path
    for name in JOB.split():
        assert callable(getattr(JobContext, name)), name


@pytest.mark.filterwarnings("ignore:.*goes in the next release:DeprecationWarning")
def test_the_statistics_of_the_guides_work() -> None:
    from tidemill.deployments.rollouts.sequential import Comparison
    from tidemill.evals.service import minimum_detectable_effect, noninferiority, paired_comparison

    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(100), 4)
    before = (rng.random(400) < 0.80).astype(float)
    after = np.where(rng.random(400) < 0.15, 1.0, before)
    difference = paired_comparison(before, after, clusters)
    assert difference.low > 0
    assert difference.model_dump()["delta"] == difference.delta
    assert json.loads(difference.model_dump_json()) == difference.model_dump(mode="json") == difference.model_dump()
    assert noninferiority(before, after, clusters, margin=0.02).outcome == "pass"
    assert minimum_detectable_effect(np.full(100, 4.0), discordance=0.2, icc=0.3) > 0
    seen = Comparison(margin=0.1, alpha=0.05)
    for number in range(300):
        seen.add(1.0 if number % 5 else 0.0, canary=False)
        seen.add(1.0 if number % 2 else 0.0, canary=True)
    assert seen.worse > 20
    assert seen.read().high < 0


def test_results_dump_as_they_did() -> None:
    rate = replace(wilson(324, 400), high=math.inf)
    assert set(rate.model_dump()) == {"value", "low", "high", "confidence", "count"}
    assert json.loads(rate.model_dump_json(indent=2))["high"] is None
