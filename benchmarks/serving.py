"""Serving through the gateway against the bare engine: tokens/s and time to first token, interleaved in one run.

Both sides ask the very same engine process, in alternating rounds, so that the machine's mood hits both alike.
Run: `python benchmarks/serving.py [--rounds 5] [--tokens 96]`. Prints one JSON object.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
from tests.deployments.live import LiveServer, served

STREAMS = (1, 8)


async def one(session: aiohttp.ClientSession, url: str, body: dict, headers: dict) -> tuple[float, int]:
    """One streamed answer: seconds to the first token, and how many tokens came."""
    began, first, tokens = time.perf_counter(), 0.0, 0
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as reply:
        assert reply.status == 200, await reply.text()
        async for line in reply.content:
            if line.startswith(b"data: {") and b'"content":"' in line and b'"role"' not in line:
                first = first or time.perf_counter() - began
                tokens += 1
    return first, tokens


async def round_of(url: str, headers: dict, model: str, streams: int, tokens: int) -> tuple[float, float]:
    """`streams` answers at once: tokens/s over all, and the median time to the first token."""
    body = {"model": model, "stream": True, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        began = time.perf_counter()
        streams_of_tokens = [
            one(session, url, body | {"messages": [{"role": "user", "content": f"Tell story number {n}."}]}, headers)
            for n in range(streams)
        ]
        results = await asyncio.gather(*streams_of_tokens)
    return sum(t for _, t in results) / (time.perf_counter() - began), statistics.median(f for f, _ in results)


async def measure(server: LiveServer, rounds: int, tokens: int) -> dict:
    """Medians over `rounds` pairs for each number of streams."""
    with server.client() as client:
        engine = next(r.base_url for r in client.deployments.engines().replicas if r.pinned)
    sides = {
        "engine": (engine, {}, "hello"),
        "gateway": (server.url, {"authorization": f"Bearer {server.token}"}, "dev/hello"),
    }
    report = {}
    for streams in STREAMS:
        by_side: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for number in range(rounds + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            for side in order:
                url, headers, model = sides[side]
                figures = await round_of(url, headers, model, streams, tokens)
                if number:  # the first pair warms up
                    by_side[side].append(figures)
        ratios = [g[0] / e[0] for g, e in zip(by_side["gateway"], by_side["engine"], strict=True)]
        report[f"{streams} streams"] = {
            side: {
                "tokens_per_s": round(statistics.median(f[0] for f in side_figures), 1),
                "first_token_ms": round(statistics.median(f[1] for f in side_figures) * 1000, 1),
            }
            for side, side_figures in by_side.items()
        } | {"speed_ratio": round(statistics.median(ratios), 4)}
    return report


def main() -> None:
    """Start a server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "home") as server:
        print(json.dumps(asyncio.run(measure(server, arguments.rounds, arguments.tokens)), indent=2))


if __name__ == "__main__":
    main()
