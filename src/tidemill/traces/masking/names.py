"""What of a span is no content: figures, and the attributes whose texts are names and not what somebody wrote."""

from typing import Any

MAX_NAME = 200
"""A longer text is no name."""

_NAMES = frozenset(
    {
        # Of OpenTelemetry.
        "ai.model.id", "ai.model.provider", "ai.operationId", "ai.response.finishReason", "ai.response.id",
        "ai.response.model", "code.function.name", "db.operation.name", "db.system.name", "embedding.model_name",
        "error.type", "exception.type", "gen_ai.agent.id", "gen_ai.agent.name", "gen_ai.conversation.id",
        "gen_ai.data_source.id", "gen_ai.operation.name", "gen_ai.output.type", "gen_ai.prompt.name",
        "gen_ai.prompt.version", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.finish_reasons",
        "gen_ai.response.id", "gen_ai.response.model", "gen_ai.system", "gen_ai.token.type", "gen_ai.tool.call.id",
        "gen_ai.tool.name", "gen_ai.tool.type", "http.request.method", "llm.model_name", "llm.provider", "llm.system",
        "logfire.span_type", "mlflow.spanType", "network.protocol.name", "network.protocol.version",
        "openinference.span.kind", "operation.name", "reranker.model_name", "rpc.method", "rpc.system",
        "server.address", "session.id", "traceloop.entity.name", "traceloop.span.kind", "traceloop.workflow.name",
        "url.scheme", "user.id",
        # Our own.
        "tidemill.caller_id", "tidemill.caller_name", "tidemill.deployment_id", "tidemill.environment",
        "tidemill.mirrors", "tidemill.model_version_id", "tidemill.overrides", "tidemill.release_id",
        "tidemill.request_id", "tidemill.rollout",
        # Of the program and the machine that sent the span.
        "container.id", "container.name", "deployment.environment", "deployment.environment.name", "host.arch",
        "host.id", "host.name", "os.type", "process.executable.name", "process.pid", "process.runtime.name",
        "process.runtime.version", "service.instance.id", "service.name", "service.namespace", "service.version",
        "telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version",
    }
)  # fmt: skip


def is_no_content(key: str, value: Any) -> bool:
    """Return whether an attribute is a figure, or a name under a key that is known for names."""
    if value is None or isinstance(value, bool | int | float):
        return True
    if key not in _NAMES:
        return False
    if isinstance(value, list):
        return len(value) <= MAX_NAME and all(isinstance(item, str) and len(item) <= MAX_NAME for item in value)
    return isinstance(value, str) and len(value) <= MAX_NAME
