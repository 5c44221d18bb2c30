"""An application that asks the gateway and is watched by one real instrumentation: `application.py SENDER URL KEY`.

Run in a process of its own, for each of them changes the OpenAI client for good. It prints the ids of its replies.
"""

import os
import sys
from collections.abc import Callable

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi."}]


def provider():
    """A tracer provider that exports over OTLP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    made = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


def otel() -> Callable[[], object]:
    """OpenTelemetry's own."""
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    spans = provider()
    OpenAIInstrumentor().instrument(tracer_provider=spans)
    return spans.force_flush


def openinference() -> Callable[[], object]:
    """Phoenix's."""
    from openinference.instrumentation.openai import OpenAIInstrumentor

    spans = provider()
    OpenAIInstrumentor().instrument(tracer_provider=spans)
    return spans.force_flush


def traceloop() -> Callable[[], object]:
    """OpenLLMetry."""
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    spans = provider()
    OpenAIInstrumentor().instrument(tracer_provider=spans)
    return spans.force_flush


def logfire() -> Callable[[], object]:
    """Pydantic's."""
    import logfire

    logfire.configure(send_to_logfire=False, console=False, service_name="shop", inspect_arguments=False)
    logfire.instrument_openai()
    return logfire.force_flush


def mlflow() -> Callable[[], object]:
    """MLflow's, without a tracking server."""
    import mlflow
    from mlflow.tracing import provider as spans

    mlflow.openai.autolog()
    return lambda: spans.provider.get().force_flush()


def ask(url: str, key: str) -> None:
    """One whole answer, one stream, one refusal."""
    import openai

    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        fields = {"model": "dev/hello", "messages": MESSAGES}
        whole = client.chat.completions.create(**fields, user="anna", extra_headers={"x-tidemill-session": "s-1"})
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(**fields, stream=True, stream_options=options))
        try:
            client.chat.completions.create(model="dev/nothing", messages=MESSAGES)
        except openai.NotFoundError as error:
            print("refused", error.code)
        print("replies", whole.id, chunks[0].id)


def main() -> None:
    """Watch, ask, send."""
    sender, url, key = sys.argv[1:]
    os.environ |= {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{key}",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true" if sender == "traceloop" else "SPAN_ONLY",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "TRACELOOP_TELEMETRY": "false",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # never asked: it only exports
    }
    senders = (otel, openinference, traceloop, logfire, mlflow)
    send = {function.__name__: function for function in senders}[sender]()
    ask(url, key)
    send()


if __name__ == "__main__":
    main()
