"""The server's own figures in the text format of Prometheus."""

from collections import Counter
from collections.abc import Iterator, Mapping

from tidemill.engines.types import Fleet
from tidemill.storage.types import StorageReport
from tidemill.traces.types import WriterState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(
    version: str,
    loops: Mapping[str, bool],
    jobs: Mapping[str, int],
    engines: Fleet,
    spans: WriterState,
    storage: StorageReport | None,
    started_s: float,
) -> str:
    """Return the metrics as text; those of the process itself, such as its memory, stand at the end."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    class Figures:
        """What this function was given, as a collector."""

        def collect(self) -> Iterator[Metric]:
            info = GaugeMetricFamily("tidemill_info", "Version of Tidemill.", labels=["version"])
            info.add_metric([version], 1)
            yield info
            yield GaugeMetricFamily("tidemill_started_seconds", "When the server started, in Unix time.", started_s)
            yield gauge("tidemill_loop_alive", "Whether a background loop runs.", "loop", loops)
            yield gauge("tidemill_jobs", "Jobs by state, of all servers on the database.", "state", jobs)
            states = Counter(str(replica.state) for replica in engines.replicas)
            yield gauge("tidemill_engine_replicas", "Engines of this server by state.", "state", states)
            in_flight = sum(replica.in_flight for replica in engines.replicas)
            yield GaugeMetricFamily("tidemill_engine_requests", "Requests that engines answer now.", in_flight)
            yield GaugeMetricFamily("tidemill_engine_waiting", "Requests that wait for an engine.", engines.waiting)
            yield GaugeMetricFamily("tidemill_spans_waiting", "Spans that wait to be stored.", spans.waiting)
            yield CounterMetricFamily("tidemill_spans_stored", "Spans stored since the start.", spans.stored)
            yield CounterMetricFamily("tidemill_spans_refused", "Spans refused since the start.", spans.refused)
            if storage is not None:
                sizes = {kind.kind: float(kind.bytes) for kind in storage.kinds}
                yield gauge("tidemill_storage_bytes", "Bytes stored by kind, at the last look.", "kind", sizes)
                removable = float(storage.removable_bytes)
                yield GaugeMetricFamily("tidemill_storage_removable_bytes", "Bytes that nothing needs.", removable)
                removed = float(storage.removed_bytes)
                yield CounterMetricFamily("tidemill_storage_removed_bytes", "Bytes removed to free space.", removed)

    def gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=[label])
        for value, count in sorted(values.items()):
            family.add_metric([value], float(count))
        return family

    registry = CollectorRegistry()
    registry.register(Figures())
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
