"""The errors of traces."""

from tidemill.core.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    StorageFull,
    TidemillError,
    TooLarge,
    Unavailable,
)


class TraceNotFound(NotFound):
    """No span of that trace is kept."""

    code = "trace_not_found"


class SpanNotFound(NotFound):
    """The trace has no such span, or no span has that response id."""

    code = "span_not_found"


class TraceIdInvalid(Invalid):
    """A trace id is 32 hexadecimal digits, a span id 16."""

    code = "trace_id_invalid"


class TraceQueryInvalid(Invalid):
    """The query is invalid: a cursor of another list, an empty range, an empty search."""

    code = "trace_query_invalid"


class SearchOff(Conflict):
    """Full-text search is switched off, so nothing was indexed."""

    code = "trace_search_off"


class ContentRefused(Forbidden):
    """The caller may read names and figures only, and asked for what was written."""

    code = "content_refused"


class OtlpInvalid(BadRequest):
    """The body is not an OTLP export request."""

    code = "otlp_invalid"


class OtlpTooLarge(TooLarge):
    """The body is too large, as it was sent or decompressed."""

    code = "otlp_too_large"


class OtlpMediaTypeUnknown(TidemillError):
    """The content type is neither OTLP's protobuf nor its JSON."""

    code = "otlp_media_type"
    status = 415


class OtlpEncodingUnknown(TidemillError):
    """The content encoding is not gzip, deflate or identity."""

    code = "otlp_encoding"
    status = 415


class TraceQueueFull(Unavailable):
    """The queue before the writer is full: nothing of this request was stored; send it again a little later."""

    code = "traces_overloaded"


class TracesUnavailable(Unavailable):
    """The span store does not answer; nothing of this request was stored."""

    code = "traces_unavailable"


class TracesClosed(Unavailable):
    """The server is stopping and stores no more spans."""

    code = "traces_closed"


class TracesFull(StorageFull):
    """The disk is full; nothing of this request was stored."""

    code = "traces_storage_full"
