"""What a model says, gathered from the pieces of a stream without looking at most of them twice."""

from typing import Any

Message = dict[str, Any]


class Speech:
    """The messages of an answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        """Texts of the first choice, which is what nearly every piece holds."""
        self._others: list[tuple[int, Message]] = []
        self._whole: list[Message] | None = None

    def add(self, index: int, delta: Message) -> None:
        """Take in a piece of the choice with this number."""
        if index == 0 and len(delta) == 1:
            text = delta.get("content")
            if text is not None:
                self._texts.append(text)
                return
        self._others.append((index, delta))

    def finish(self, choices: list[Message]) -> None:
        """Take in an answer that came in one piece."""
        self._whole = [choice["message"] for choice in choices if isinstance(choice.get("message"), dict)]

    def forget(self) -> None:
        """Begin again: what was said before is not part of the answer."""
        self._texts, self._others, self._whole = [], [], None

    def messages(self) -> list[Message] | None:
        """One message for each choice; None when nothing was said."""
        if self._whole is not None:
            return self._whole or None
        if not self._texts and not self._others:
            return None
        pieces: dict[int, _Pieces] = {0: _Pieces()}
        for index, delta in self._others:
            pieces.setdefault(index, _Pieces()).add(delta)
        # Pieces with more than a text, such as a role, stand before the plain ones.
        pieces[0].texts += self._texts
        return [pieces[index].message() for index in sorted(pieces)]


class _Pieces:
    """The pieces of one choice."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._more: dict[str, list[str]] = {}
        self._calls: dict[int, Message] = {}

    def add(self, delta: Message) -> None:
        """Take in one piece."""
        for name, value in delta.items():
            if name == "content" and isinstance(value, str):
                self.texts.append(value)
            elif name == "tool_calls" and isinstance(value, list):
                for call in value:
                    self._call(call)
            elif name != "role" and isinstance(value, str):
                self._more.setdefault(name, []).append(value)

    def _call(self, part: Message) -> None:
        """Part of a tool call: the first one brings id and name, the later ones more of the arguments."""
        empty = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        call = self._calls.setdefault(part.get("index", 0), empty)
        call["id"] = part.get("id") or call["id"]
        function = part.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    def message(self) -> Message:
        """The whole."""
        text = "".join(self.texts)
        made: Message = {"role": "assistant", "content": text if text or not self._calls else None}
        if self._calls:
            made["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return made | {name: "".join(parts) for name, parts in self._more.items()}
