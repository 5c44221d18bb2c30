"""kill -9 in the middle of a stream: the next server records what was begun."""

import json
import socket
from urllib.parse import urlsplit

from tests.deployments.live import LiveServer, wait_for

HI = [{"role": "user", "content": "Write a long story about a lighthouse keeper."}]


def test_a_call_under_way_when_the_server_is_killed_is_recorded_as_unfinished(server: LiveServer) -> None:
    body = json.dumps(
        {"model": "dev/hello", "messages": HI, "stream": True, "max_tokens": 900, "user": "leaver"}
    ).encode()
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token}\r\n"
        line.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        came = b""
        while b'"content":"' not in came:
            came += line.recv(4096)
        server.kill()
    server.start()
    with server.client() as client:
        wait_for(lambda: client.gateway.calls(user="leaver").items)
        (call,) = client.gateway.calls(user="leaver").items
        assert (call.status, call.error_code, call.http_status) == ("error", "call_unfinished", 500)
        assert call.id in came.decode()
        assert (call.model, call.environment) == ("dev/hello", "dev")
        assert call.prompt_tokens is None


def test_a_caller_who_hangs_up_pays_for_the_prompt(server: LiveServer) -> None:
    body = json.dumps(
        {"model": "dev/hello", "messages": HI, "stream": True, "max_tokens": 900, "user": "early"}
    ).encode()
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as line, server.client() as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token}\r\n"
        line.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        came = b""
        while b'"content":"' not in came:
            came += line.recv(4096)
        line.close()
        assert b"prompt_progress" not in came
        wait_for(lambda: client.gateway.calls(user="early").items)
        (call,) = client.gateway.calls(user="early").items
        whole = client.gateway.ask("dev/hello", HI, max_tokens=1)
    assert call.status == "aborted"
    assert call.prompt_tokens == whole["usage"]["prompt_tokens"]
