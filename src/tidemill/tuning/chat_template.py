"""Rendering a chat with a model's own template, as transformers and the engine do, without either."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.tuning.compress.files import read_json
from tidemill.tuning.types import ChatTemplateUnfit

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment


Message = dict[str, Any]


@cache
def _environment() -> "ImmutableSandboxedEnvironment":
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


@lru_cache(maxsize=8)
def _template(source: str) -> "Template":
    # Compiling one takes 1.6 ms, a hundred times as long as rendering it.
    return _environment().from_string(source)


class ChatEncoder:
    """A model folder's template and tokenizer: messages in, token ids out."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        path = folder / "chat_template.jinja"
        if not path.exists():
            raise ChatTemplateUnfit(
                "The base model carries no chat template.", hint="Tune an instruction-tuned model (`…-Instruct`)."
            )
        self.source = path.read_text(encoding="utf-8")
        settings = read_json(folder / "tokenizer_config.json")
        self.names = {k: _content(settings.get(k)) for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.eos: str = self.names["eos_token"] or ""

    def render(self, messages: Sequence[Message], *, ask: bool) -> str:
        """Return the chat as text. `ask` adds what stands before the assistant's answer."""
        from jinja2 import TemplateError
        from jinja2.exceptions import SecurityError

        try:
            names = {k: v or "" for k, v in self.names.items()}
            return str(_template(self.source).render(messages=list(messages), add_generation_prompt=ask, **names))
        except (TemplateError, SecurityError, TypeError) as error:
            raise ChatTemplateUnfit(f"The chat template refuses the messages: {error}.") from error

    def ids(self, text: str) -> list[int]:
        """Return token ids of rendered text; special tokens are read as such and none is added."""
        token_ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return token_ids

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return token ids of a chat up to where the assistant answers."""
        return self.ids(self.render(messages, ask=True))

    def text(self, ids: Sequence[int]) -> str:
        """Return text of token ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def example(
        self, messages: Sequence[Message], *, start: int = 0, completion_only: bool = True
    ) -> tuple[list[int], list[bool]]:
        """Return token ids of a whole chat, and for each whether it counts in the loss. Turns before `start` never do.

        Every assistant turn is cut off where serving would ask for it, so that training sees the very tokens of
        serving. Its end token counts too: without it the model never learns to stop.
        """
        ids: list[int] = []
        loss_mask: list[bool] = []
        done = ""
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or index < start:
                continue
            prompt = self.render(messages[:index], ask=True)
            through_answer = self.render(messages[: index + 1], ask=False)
            if not (prompt.startswith(done) and through_answer.startswith(prompt)):
                raise ChatTemplateUnfit(
                    "The chat template changes earlier turns when a later one is added.",
                    hint="Use its training form, or data sets with one answer a row.",
                )
            answer = through_answer[len(prompt) :]
            if self.eos and answer.rstrip().endswith(self.eos):
                answer = answer.rstrip()  # serving stops at the end token: what follows is never generated
            before, after = self.ids(prompt[len(done) :]), self.ids(answer)
            ids += before + after
            loss_mask += [not completion_only] * len(before) + [True] * len(after)
            done = prompt + answer
        return ids, loss_mask


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token
