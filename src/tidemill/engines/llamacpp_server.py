"""The child process around one llama.cpp server: `python -m tidemill.engines.llamacpp_server`.

It reports its address as one JSON line on standard output, logs to standard error, and ends as soon as its standard
input closes: the parent holds the other end, so an engine never outlives the server that started it, kill -9 included.
"""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

PREFIX = "tidemill-engine"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=PREFIX)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, action="append", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=2048, help="tokens for one request")
    parser.add_argument("--parallel", type=int, default=4, help="requests decoded together")
    parser.add_argument("--chat-template", type=Path, help="file with a Jinja template instead of the model's own")
    parser.add_argument("--owner", default="", help="who started it; only shown in the process list")
    return parser.parse_args(argv)


def _end_with_parent() -> None:
    """Exit at once when the parent ends, without cleanup: llama.cpp's destructor can hang."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def _exit_on_signal(_signal: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _start(arguments: argparse.Namespace) -> object:
    # Read by the OpenMP library when it loads. Threads that wait for each other spin for a moment, then sleep. Without
    # spinning, an engine alone reaches 47 tokens/s instead of 126 (SmolLM2-135M Q8_0, 2 cores); with the library's
    # long spinning, a busy second process brings it from 60 down to 13 to 38.
    os.putenv("GOMP_SPINCOUNT", "1000")
    import xllamacpp as x  # 100 MB, needed only in this process

    params = x.CommonParams()
    params.model.path = str(arguments.model)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = arguments.parallel
    params.kv_unified = True  # one shared cache: 30% more tokens/s at 8 streams than a slice for each
    params.n_ctx = arguments.context * arguments.parallel
    # A small model that repeats itself would else fill the whole shared cache when nobody set max_tokens.
    params.n_predict = arguments.context
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    # One thread for each reply being written, and some to say "I am well" while all slots are busy.
    params.n_threads_http = arguments.parallel + 8
    params.cache_ram_mib = 0
    params.fit_params = False
    params.offline = True
    params.ui = False
    params.use_jinja = True
    params.enable_reasoning = 0
    params.endpoint_metrics = True
    if arguments.chat_template is not None:
        params.chat_template = arguments.chat_template.read_text(encoding="utf-8")
    adapters = []
    for path in arguments.adapter:
        adapter = x.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(path), 1.0
        adapters.append(adapter)
    params.lora_adapters = adapters
    return x.Server(params)


def main(argv: list[str] | None = None) -> None:
    """Serve until the parent ends or SIGTERM arrives."""
    arguments = _arguments(argv)
    report = os.dup(1)
    os.dup2(2, 1)  # the library prints to standard output, which is the parent's channel
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's to handle
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        server = _start(arguments)
    except Exception as error:  # noqa: BLE001 - reported to the parent, which raises it
        os.write(report, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        sys.stderr.flush()
        os._exit(1)
    address = getattr(server, "listening_address")  # noqa: B009 - the library has no types
    os.write(report, json.dumps({"url": address}).encode() + b"\n")
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
