"""More than one replica of a release, and a release with a LoRA adapter, on real engines."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import httpx
import numpy as np
import psutil
import pytest

from tests.deployments.live import ENDLESS, LiveServer, wait_for
from tidemill.core.actors import OWNER
from tidemill.core.settings import Settings
from tidemill.engines.types import Replica
from tidemill.registry import service as registry
from tidemill.registry.packaged import SMOLLM2, locate
from tidemill.registry.types import ParentRef, ParityEvidence, VersionCreate
from tidemill.releases import service as releases
from tidemill.releases.types import ReleaseCreate
from tidemill.server.app import build_kernel

pytestmark = pytest.mark.engine


def write_adapter(path: Path, strength: float) -> Path:
    """A LoRA of rank 1 on the last layer's way out, which pushes every answer elsewhere when `strength` is not 0."""
    fields = gguf.GGUFReader(locate(SMOLLM2)).fields
    width, inner = (int(fields[f"llama.{name}_length"].contents()) for name in ("embedding", "feed_forward"))
    last = int(fields["llama.block_count"].contents()) - 1
    chance = np.random.default_rng(3)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    name = f"blk.{last}.ffn_down.weight"
    writer.add_tensor(f"{name}.lora_a", chance.normal(0, 1, (1, inner)).astype(np.float32))
    writer.add_tensor(f"{name}.lora_b", (strength * chance.normal(0, 1, (width, 1))).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def prepare(home: Path, folder: Path) -> None:
    """hello@1 is the packaged model; hello@2 and hello@3 add an adapter that does nothing, and one that does a lot."""
    kernel = build_kernel(Settings(home=home))
    proof = ParityEvidence(passed=True, hop="trainer -> served:lora", summary="As the trainer.")
    with kernel.write(OWNER) as ctx:
        files = registry.ingest_folder(kernel, locate(SMOLLM2))
        base = registry.add_version(ctx, VersionCreate(model="smollm2", files=files))
        frozen: dict[str, Any] = {"name": "hello", "model": "smollm2", "sampling": {"temperature": 0, "max_tokens": 24}}
        releases.create_release(ctx, ReleaseCreate.model_validate(frozen))
        for strength in (0.0, 5.0):
            files = registry.ingest_folder(kernel, write_adapter(folder / f"lora-{strength:g}.gguf", strength))
            parent = ParentRef(version=base.id, relation="adapter_of")
            body = VersionCreate(model="lora", kind="adapter", files=files, parents=[parent])
            adapter = registry.mark_servable(ctx, registry.add_version(ctx, body).id, proof)
            releases.create_release(ctx, ReleaseCreate.model_validate(frozen | {"adapter": adapter.ref}))
    kernel.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two engines of hello@1 in dev."""
    folder = tmp_path_factory.mktemp("replicas")
    prepare(folder / "home", folder)
    made = LiveServer(folder / "home")
    made.start()
    try:
        with made.client() as client:
            ordered = client.deployments.deploy("hello@1", "dev", replicas=2)
            assert client.deployments.wait(ordered.id, timeout=120).state == "live"
        yield made
    finally:
        made.stop()


def chat(server: LiveServer, model: str = "dev/hello", **fields: object) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "Count from one to ten."}], **fields},
        headers={"authorization": f"Bearer {server.token}"},
        timeout=120,
    )


def pinned(server: LiveServer) -> list[Replica]:
    with server.client() as client:
        return [r for r in client.deployments.engines().replicas if r.pinned and r.state == "ready"]


def test_requests_go_to_the_least_busy_replica_and_one_that_dies_loses_none(server: LiveServer) -> None:
    first = {r.id: r.pid for r in pinned(server)}
    assert len(first) == 2
    with concurrent.futures.ThreadPoolExecutor(4) as callers:
        waiting = [callers.submit(chat, server, max_tokens=120, logit_bias=ENDLESS) for _ in range(4)]
        wait_for(lambda: sorted(r.in_flight for r in pinned(server)) == [2, 2])
        victim = next(iter(first))
        psutil.Process(first[victim]).kill()
        replies = [future.result() for future in waiting]
    assert [r.status_code for r in replies] == [200] * 4
    assert len({r.json()["choices"][0]["message"]["content"] for r in replies}) == 1, "greedy, so all say the same"
    wait_for(lambda: len(pinned(server)) == 2)
    after = {r.id: r for r in pinned(server)}
    assert set(first) - set(after) == {victim}, "only the dead one was replaced"
    assert max(r.restarts for r in after.values()) == 1
    for _ in range(2):
        assert chat(server, max_tokens=2).status_code == 200


def test_an_adapter_of_a_release_is_in_its_answers(server: LiveServer) -> None:
    said = {}
    for number in (1, 2, 3):
        reply = chat(server, f"hello@{number}")
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == f"hello@{number}"
        said[number] = reply.json()["choices"][0]["message"]["content"]
    assert said[2] == said[1], "an adapter of zeros changes nothing"
    assert said[3] != said[1]
    assert chat(server, "hello@3").json()["choices"][0]["message"]["content"] == said[3]
