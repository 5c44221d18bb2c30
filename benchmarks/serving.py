"""Serving through the gateway against the bare engine: tokens/s and time to first token, interleaved in one run.

Both sides ask the very same engine process, in alternating rounds, so that the machine's mood hits both alike.

    python benchmarks/serving.py
    python benchmarks/serving.py --rounds 1 --tokens 4 --streams 1    # the smallest

What the difference is made of, on two cores of which the engine takes both (SmolLM2-135M, two threads):

- The gateway sends a request on 0.3 ms after it came in, and the last of eight that come at once after 4 ms. The engine
  reads the first prompt alone and the other seven together, with the gateway as without it.
- It takes 1.7 to 3.3 ms of processor time for an answer, and for each token 0.5 ms with one stream and 0.1 ms with
  eight, whose tokens come together. That time is taken from the engine's own two threads: of some 10 ms a token it is
  the 4% with one stream, and for eight requests at once some 13 ms before their first tokens.
- The first token of one stream came 1.5 to 2 ms later than from the engine (median and first decile of 35 at raised
  priority), of eight 10 ms (median of 14 rounds, machine shared with others).

Prints one JSON object. It takes the server of the tests, so it needs a checkout with the development packages.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script has only its own folder on the path
from tests.deployments.live import ENDLESS, LiveServer, fill, served

STREAMS = (1, 8)


async def one(session: aiohttp.ClientSession, url: str, body: dict, headers: dict) -> tuple[float, int]:
    """Return the seconds to the first token of one streamed answer, and how many tokens came."""
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
    body = {"model": model, "stream": True, "max_tokens": tokens, "temperature": 0, "logit_bias": ENDLESS}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        began = time.perf_counter()
        streams_of_tokens = [
            one(session, url, body | {"messages": [{"role": "user", "content": f"Tell story number {n}."}]}, headers)
            for n in range(streams)
        ]
        results = await asyncio.gather(*streams_of_tokens)
    return sum(t for _, t in results) / (time.perf_counter() - began), statistics.median(f for f, _ in results)


def processor_s(process: psutil.Process) -> float:
    """Return the processor seconds of the server itself; engines are processes of their own."""
    times = process.cpu_times()
    return times.user + times.system


async def measure(server: LiveServer, rounds: int, tokens: int, streams_of_rounds: list[int]) -> dict:
    """Medians over `rounds` pairs for each number of streams."""
    with server.client() as client:
        engine = next(r.base_url for r in client.deployments.engines().replicas if r.pinned)
    sides = {
        "engine": (engine, {}, "hello"),
        "gateway": (server.url, {"authorization": f"Bearer {server.token}"}, "dev/hello"),
    }
    process = psutil.Process(server.pid)
    report = {}
    for streams in streams_of_rounds:
        gateway_s = 0.0
        by_side: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for number in range(rounds + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            for side in order:
                url, headers, model = sides[side]
                used = processor_s(process)
                figures = await round_of(url, headers, model, streams, tokens)
                if number:  # the first pair warms up
                    by_side[side].append(figures)
                    gateway_s += processor_s(process) - used if side == "gateway" else 0.0
        ratios = [g[0] / e[0] for g, e in zip(by_side["gateway"], by_side["engine"], strict=True)]
        report[f"{streams} streams"] = {
            side: {
                "tokens_per_s": round(statistics.median(f[0] for f in side_figures), 1),
                "first_token_ms": round(statistics.median(f[1] for f in side_figures) * 1000, 1),
            }
            for side, side_figures in by_side.items()
        } | {
            "speed_ratio": round(statistics.median(ratios), 4),
            "gateway_processor_ms_per_answer": round(gateway_s * 1000 / (rounds * streams), 2),
        }
    return report


def main() -> None:
    """Start a server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rounds; one more warms up")
    parser.add_argument("--tokens", type=int, default=96, help="length of each answer")
    parser.add_argument("--streams", type=int, action="append", help="answers at once; may be given again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        filled = Path(folder) / "filled"
        fill(filled)
        with served(Path(folder) / "home", filled) as server:
            report = asyncio.run(
                measure(server, arguments.rounds, arguments.tokens, arguments.streams or list(STREAMS))
            )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
