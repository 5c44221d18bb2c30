"""The chunks of a streamed chat completion, put together: messages, finish reason, usage, and the whole completion."""

from typing import Any

from tidemill.gateway.types import Usage

MessageDict = dict[str, Any]
"""A message in OpenAI's shape."""


class CompletionAccumulator:
    """Gathers one chat completion from its chunks, or takes it in whole.

    The gateway adds a chunk for every token it passes on, so `add` does as little as it can; joining comes later.
    """

    def __init__(self, *, keep_logprobs: bool = False) -> None:
        """`keep_logprobs`: for `completion`, which alone needs them. They take some kilobytes a token."""
        self.usage = Usage()
        self.knows_input = False
        """Whether the engine has said how many tokens the prompt has."""
        self.finish_reason: str | None = None
        """Why the answer ended, of the choice that ended last; None while none has."""
        self.delta_count = 0
        """How many pieces of an answer came: one for each token, with llama.cpp."""
        self._keep_logprobs = keep_logprobs
        self._texts: list[str] = []
        """Contents of the first choice, which is what nearly every chunk brings. The same list as in `_choices`."""
        self._choices: dict[int, _Choice] = {}
        self._fields: dict[str, Any] = {}
        self._messages: list[MessageDict] | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        """Add one chunk of the stream.

        A delta that only opens a choice gets the empty content that OpenAI's has; llama.cpp writes null there.
        """
        for choice in _dicts(chunk.get("choices")):
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                delta = {}
            if delta and len(delta) == 1 and type(text := delta.get("content")) is str and not choice.get("index"):
                self._texts.append(text)
                self.delta_count += 1
            elif delta:
                self._add_delta(choice, delta)
            if choice.get("finish_reason"):
                self.finish_reason = self._choice(choice).finish_reason = choice["finish_reason"]
            if self._keep_logprobs and choice.get("logprobs"):
                self._choice(choice).logprobs += choice["logprobs"].get("content") or []
        usage = chunk.get("usage")
        if usage and isinstance(usage, dict):
            self._read_usage(usage)
        # The chunks in between repeat what the first one says, and the last ones bring usage and timings.
        if usage or self.finish_reason is not None or not self._fields:
            self._fields.update(chunk)

    def add_progress(self, progress: dict[str, Any]) -> None:
        """Take in how far llama.cpp is with the prompt, which it says before the first token."""
        total = _tokens(progress.get("total"))
        if total is not None:
            self.usage = read_usage(
                {"prompt_tokens": total, "prompt_tokens_details": {"cached_tokens": progress.get("cache")}}
            )
            self.knows_input = True

    def _read_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            before, self.usage = self.usage, read_usage(usage)
            if _tokens(usage.get("prompt_tokens")) is not None:
                self.knows_input = True
            elif self.knows_input:
                self.usage = self.usage.model_copy(update={"prompt_tokens": before.prompt_tokens})

    def _add_delta(self, choice: dict[str, Any], delta: MessageDict) -> None:
        if delta.get("role") and delta.get("content") is None and not delta.get("tool_calls"):
            delta["content"] = ""
            self._choice(choice)
            if not any(value for name, value in delta.items() if name != "role"):
                return
        self._choice(choice).add(delta)
        self.delta_count += 1

    def set_completion(self, completion: dict[str, Any]) -> None:
        """Take in a completion that came in one piece."""
        choices = _dicts(completion.get("choices"))
        self.finish_reason = choices[0].get("finish_reason") if choices else None
        usage = completion.get("usage")
        self._read_usage(usage)
        self._fields = completion
        self._messages = [choice["message"] for choice in choices if isinstance(choice.get("message"), dict)]

    def messages(self) -> list[MessageDict] | None:
        """Return one message for each choice; None when no piece of an answer came."""
        if self._messages is not None:
            return self._messages or None
        if not self.delta_count:
            return None
        return [choice.message() for _, choice in self._sorted_choices()]

    def text(self) -> str:
        """Return the content of the first choice, empty when there is none."""
        messages = self.messages()
        content = messages[0].get("content") if messages else None
        return content if isinstance(content, str) else ""

    def completion(self) -> dict[str, Any]:
        """Return the completion as the engine would have sent it in one piece."""
        if self._messages is not None:
            return self._fields
        choices = [choice.completed(index) for index, choice in self._sorted_choices()]
        return {**self._fields, "object": "chat.completion", "choices": choices}

    def _choice(self, choice: dict[str, Any]) -> "_Choice":
        index = _count(choice.get("index"))
        if index not in self._choices:
            self._choices[index] = _Choice([] if index else self._texts)
        return self._choices[index]

    def _sorted_choices(self) -> list[tuple[int, "_Choice"]]:
        """Return the choices that the stream brought; an empty first one when it brought none."""
        if self._texts or not self._choices:
            self._choice({})
        return sorted(self._choices.items())


def read_usage(usage: dict[str, Any]) -> Usage:
    """Return the token counts in OpenAI's `usage` object; 0 for what it does not say, or cannot be."""
    prompt_tokens = _tokens(usage.get("prompt_tokens")) or 0
    details = usage.get("prompt_tokens_details")
    cached_tokens = _tokens(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=_tokens(usage.get("completion_tokens")) or 0,
        cached_tokens=min(cached_tokens or 0, prompt_tokens),
    )


def _dicts(values: Any) -> list[dict[str, Any]]:
    """Return the objects of a list that may be null or hold nulls."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


_MOST_TOKENS = 10**12


def _tokens(value: Any) -> int | None:
    """Return a number of tokens; None for what is none."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


class _Choice:
    """The pieces of one choice."""

    def __init__(self, texts: list[str]) -> None:
        self.finish_reason: str | None = None
        self.logprobs: list[Any] = []
        self._texts = texts
        self._other_texts: dict[str, list[str]] = {}
        self._tool_calls: dict[int, MessageDict] = {}

    def add(self, delta: MessageDict) -> None:
        for name, value in delta.items():
            if name == "content" and isinstance(value, str):
                self._texts.append(value)
            elif name == "tool_calls" and isinstance(value, list):
                for part in _dicts(value):
                    self._add_tool_call(part)
            elif name != "role" and isinstance(value, str):
                self._other_texts.setdefault(name, []).append(value)

    def _add_tool_call(self, part: MessageDict) -> None:
        # The first part of a tool call brings its id and name, the later ones more of its arguments.
        empty = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        tool_call = self._tool_calls.setdefault(self._tool_index(part), empty)
        tool_call["id"] = part.get("id") or tool_call["id"]
        function = part.get("function")
        if not isinstance(function, dict):
            return
        tool_call["function"]["name"] += function.get("name") or ""
        tool_call["function"]["arguments"] += function.get("arguments") or ""

    def _tool_index(self, part: MessageDict) -> int:
        index: int | None = part.get("index")
        if index is not None:
            return index
        # Without an index a part belongs to the call whose id it has, or else to the last one; a new id starts a call.
        last = max(self._tool_calls, default=0)
        if not part.get("id") or not self._tool_calls:
            return last
        return next((i for i, call in self._tool_calls.items() if call["id"] == part["id"]), last + 1)

    def message(self) -> MessageDict:
        text = "".join(self._texts)
        message: MessageDict = {"role": "assistant", "content": text if text or not self._tool_calls else None}
        if self._tool_calls:
            message["tool_calls"] = [self._tool_calls[index] for index in sorted(self._tool_calls)]
        return message | {name: "".join(parts) for name, parts in self._other_texts.items()}

    def completed(self, index: int) -> MessageDict:
        choice: MessageDict = {"finish_reason": self.finish_reason, "index": index, "message": self.message()}
        if self.logprobs:
            choice["logprobs"] = {"content": self.logprobs}
        return choice
