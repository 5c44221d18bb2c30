"""Counts of tokens by the convention of OpenTelemetry: a whole includes its parts.

Cached and newly cached tokens are part of the input tokens, and reasoning tokens are part of the output tokens.
"""

from typing import Any

_EXCLUSIVE = ("anthropic", "aws.bedrock")
"""Providers whose own input tokens leave out those that were read from the cache or written to it."""


def correct_counts(fields: dict[str, Any]) -> None:
    """Correct the counts of a span in place.

    Parts that are larger than the whole show that the sender leaves them out of it, or that they cannot be: where the
    provider counts so, they are added, else they are cut to the whole.
    """
    if fields.get("ttft_ms", 0) < 0:
        del fields["ttft_ms"]
    _correct_input(fields)
    output, reasoning = fields.get("output_tokens"), fields.get("reasoning_tokens")
    if output is not None and reasoning is not None and reasoning > output:
        # Gemini's thoughts, which it counts beside its candidates and charges as output.
        fields["output_tokens"] = output + reasoning


def _correct_input(fields: dict[str, Any]) -> None:
    input_tokens = fields.get("input_tokens")
    if input_tokens is None:
        return
    cached, written = fields.get("cached_tokens") or 0, fields.get("written_tokens") or 0
    if cached + written <= input_tokens:
        return
    model, provider = str(fields.get("model") or fields.get("request_model") or ""), fields.get("provider") or ""
    if "claude" in model.lower() or str(provider).lower().startswith(_EXCLUSIVE):
        fields["input_tokens"] = input_tokens + cached + written
        return
    if "cached_tokens" in fields:
        fields["cached_tokens"] = min(cached, input_tokens)
    if "written_tokens" in fields:
        fields["written_tokens"] = min(written, input_tokens - min(cached, input_tokens))
