"""The tokenizer as GGUF metadata and as Hugging Face's `tokenizer.json`: byte-level BPE in both."""

import json
from typing import Any

from tidemill.tuning.types import UnsupportedModel

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bytes(*, regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _bytes(regex=True)],
    },
    "gpt-2": _bytes(regex=True),
    "llama-bpe": {"type": "Sequence", "pretokenizers": [_split(_LLAMA3), _bytes(regex=False)]},
}
"""How text is cut before merging: llama.cpp's name -> the same rule for Hugging Face's tokenizers."""

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Token types of GGUF."""


def tokenizer_json(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a `tokenizer.json` from GGUF metadata."""
    model, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        raise UnsupportedModel(
            f"The model's tokenizer is {model!r} with the pre-tokenizer {pre!r}.",
            hint=f"Tuning knows byte-level BPE with {', '.join(sorted(PRE_TOKENIZERS))}.",
        )
    tokens = fields["tokenizer.ggml.tokens"]
    types = fields["tokenizer.ggml.token_type"]
    added = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == CONTROL,
        }
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre == "llama-bpe",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ", 1) for merge in fields["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a `tokenizer_config.json` from GGUF metadata."""
    tokens = fields["tokenizer.ggml.tokens"]

    def named(key: str) -> str | None:
        index = fields.get(f"tokenizer.ggml.{key}_token_id")
        return None if index is None else str(tokens[index])

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": int(fields["llama.context_length"]),
        "add_bos_token": bool(fields.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": named("bos"),
        "eos_token": named("eos"),
        "unk_token": named("unknown"),
        "pad_token": named("padding"),
    }


def vocabulary_fields(tokenizer: dict[str, Any], settings: dict[str, Any], size: int) -> dict[str, tuple[str, Any]]:
    """Return GGUF metadata from `tokenizer.json` and `tokenizer_config.json`: key -> (kind, value).

    `size`: embedding rows.
    """
    pre = _pre_name(tokenizer)
    vocabulary: dict[str, int] = dict(tokenizer["model"]["vocab"])
    types = [NORMAL] * size
    for token in tokenizer["added_tokens"]:
        vocabulary[token["content"]] = token["id"]
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    tokens = [""] * size
    for token, index in vocabulary.items():
        tokens[index] = token
    for index, token in enumerate(tokens):
        if not token:  # rows that only round the embedding up
            tokens[index], types[index] = f"[PAD{index}]", 5
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    fields: dict[str, tuple[str, Any]] = {
        "tokenizer.ggml.add_space_prefix": ("bool", False),
        "tokenizer.ggml.add_bos_token": ("bool", bool(settings.get("add_bos_token", False))),
        "tokenizer.ggml.model": ("string", "gpt2"),
        "tokenizer.ggml.pre": ("string", pre),
        "tokenizer.ggml.tokens": ("strings", tokens),
        "tokenizer.ggml.token_type": ("int32s", types),
        "tokenizer.ggml.merges": ("strings", merges),
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        name = settings.get(f"{theirs}_token")
        name = name.get("content") if isinstance(name, dict) else name
        if name is not None:
            fields[f"tokenizer.ggml.{ours}_token_id"] = ("uint32", vocabulary[name])
    return fields


def _pre_name(tokenizer: dict[str, Any]) -> str:
    rule = json.dumps(tokenizer.get("pre_tokenizer"), sort_keys=True)
    for name, declared in PRE_TOKENIZERS.items():
        if json.dumps(declared, sort_keys=True) == rule:
            return name
    raise UnsupportedModel(
        f"The tokenizer cuts text by a rule that is not known here: {rule[:120]}.",
        hint=f"Known: {', '.join(sorted(PRE_TOKENIZERS))}.",
    )
