"""Text that every database takes."""

from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """Return the text with U+FFFD in place of what no database takes: NUL, and halves of surrogate pairs."""
    if text.isascii():
        return text.replace("\x00", REPLACEMENT) if "\x00" in text else text
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return paired.replace("\x00", REPLACEMENT)


def storable_value(value: Any) -> Any:
    """Return a value with every text in it as `storable` gives it; lists and dicts are copied."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_value(key): storable_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_value(item) for item in value]
    return value
