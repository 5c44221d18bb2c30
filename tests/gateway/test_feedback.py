"""From a reply of the gateway to feedback by the key that asked, online scores, and a dataset."""

import openai
import pytest

from tests.deployments.live import LiveServer, wait_for
from tidemill.feedback.types import FeedbackRefused

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ASKED = "What is the capital of Norway?"


def test_a_reply_is_judged_by_who_asked_and_becomes_a_row(server: LiveServer) -> None:
    with server.client() as owner:
        for name in ("shop", "rival"):
            owner.access.create_person(name, roles=["viewer"])
        keys = {name: owner.access.create_key(name, name="app").secret for name in ("shop", "rival")}
        owner.evals.online.create("says-something", {"scorer": "regex", "config": {"pattern": "."}}, share=1.0)
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=keys["shop"], max_retries=0) as sdk:
            messages = [{"role": "user", "content": ASKED}]
            reply = sdk.chat.completions.create(model="dev/hello", messages=messages, max_tokens=8, user="ada")
        body = {"response_id": reply.id, "thumbs": "down", "correction": "Oslo", "user": "ada"}
        with server.client(keys["rival"]) as rival, pytest.raises(FeedbackRefused):
            rival.traces.feedback(**body)
        with server.client(keys["shop"]) as shop:
            score = shop.traces.feedback(**body)
        release = owner.releases.get("hello@1")
        assert (score.author, score.user, score.release_id) == ("ada", "ada", release.id)
        assert (score.environment, score.model) == ("dev", "hello@1")
        collection = owner.traces.to_dataset("capitals", "chat", response_ids=[reply.id])
        (row,) = owner.data.rows(collection.version_id)
        assert [(m["role"], m["content"]) for m in row["messages"]] == [("user", ASKED), ("assistant", "Oslo")]
        graph = owner.governance.lineage(collection.version_id)
        assert release.id in {node.id for node in graph.up.nodes}
        wait_for(lambda: owner.scores.list(response_id=reply.id, source="code").items)
        (judged,) = owner.scores.list(response_id=reply.id, source="code").items
        assert (judged.author, judged.value, judged.release_id) == ("online/says-something", 1.0, release.id)
