"""Checks that tell real numbers from numbers that only look so."""

import ipaddress
import math
from collections import Counter


def card(digits: str) -> bool:
    """Return whether the digits can be a payment card: issuer prefix, length and Luhn (ISO/IEC 7812-1)."""
    from stdnum import luhn

    if len(set(digits)) < 2 or not luhn.is_valid(digits):
        return False
    if digits[0] == "4":
        return len(digits) in (13, 16, 19)
    if digits[:2] in ("34", "37"):
        return len(digits) == 15
    if 51 <= int(digits[:2]) <= 55 or 2221 <= int(digits[:4]) <= 2720:
        return len(digits) == 16
    if digits[:2] in ("30", "36", "38", "39"):
        return 14 <= len(digits) <= 19
    return digits[:2] in ("35", "50", "56", "57", "58", "60", "62", "63", "64", "65", "67") and 12 <= len(digits) <= 19


def iban(compact: str) -> bool:
    """Return whether the text is an IBAN: the country's form and the check digits modulo 97 (ISO 13616, ISO 7064)."""
    from stdnum import iban

    # The check digits inside the account numbers of some countries are left out: a slip there is an account still.
    return bool(iban.is_valid(compact, check_country=False))


def ip_address(text: str) -> bool:
    """Return whether the text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def entropy(text: str) -> float:
    """Return the Shannon entropy of a text in bits per character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values()) if text else 0.0
