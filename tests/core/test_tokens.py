"""Texts as tokens: what carries meaning stays, in time that grows with the length."""

import pytest

from tidemill.core.tokens import tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("答えは-5です", ["答", "え", "は", "-5", "で", "す"]),
        ("气温−5度", ["气", "温", "-5", "度"]),
        ("-$5", ["$", "-5"]),
        ("−€ 5.50", ["€", "-5.5"]),
        ("-5kg", ["-5kg"]),
        ("-5%", ["-5", "%"]),
        ("−½", ["-1/2"]),
        ("1½", ["1", "1/2"]),
        ("50٪", ["50", "%"]),
        ("٥٠٪", ["50", "%"]),
        ("3.5kg", ["3.5kg"]),
        ("1,000.50", ["1000.5"]),
        ("10-5", ["10-5"]),
        ("5 - 3", ["5", "3"]),
        ("a = -b", ["a", "=", "-", "b"]),
        ("well-known", ["well", "known"]),
        ("-0.0", ["0"]),
        ("C++ and C#", ["c", "++", "and", "c", "#"]),
    ],
)
def test_signs_units_and_digits_stay(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_no_digit_of_a_long_number_is_lost() -> None:
    number = "123456789012345678901234567890.12345678901234567890123456789"
    assert tokens(number) == [number]
    assert tokens(f"-{number}000") == [f"-{number}"]


def test_zeros_of_a_version_stay_on_request() -> None:
    assert tokens("Python 3.10") == tokens("python 3.1")
    assert tokens("Python 3.10", keep_zeros=True) == ["python", "3.10"]


@pytest.mark.parametrize(
    "text",
    ["a" + "_" * 200_000 + "b", "x." + "*" * 200_000 + "b", "1." * 100_000 + "a", "+" * 200_000 + "5", "-$" * 100_000,
     "ก็" * 100_000 + "-", "1," * 100_000, "'" * 200_000, "a'" * 100_000, "#" * 200_000, "½" * 100_000],
)  # fmt: skip
def test_long_runs_take_linear_time(text: str) -> None:
    assert isinstance(tokens(text), list)
