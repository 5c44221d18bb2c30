"""How much personal data is found, and how much is taken for it: recall and false finds of each kind.

    python benchmarks/pii.py                        # numbers made by their own rules, among ids, hashes and dates
    python benchmarks/pii.py --texts messages.txt   # also what is found in texts of your own, a line each
    python benchmarks/pii.py --count 50             # the smallest size

The numbers to find are the examples of the numbering plans (phonenumbers), and cards and accounts with right checksums,
each in the spellings that people use. The numbers not to find are UUIDs, hashes, timestamps, order numbers, dates,
amounts, versions and article numbers.
"""

import argparse
import random
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import phonenumbers
from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from tidemill.data.phones import PHONE_REGIONS
from tidemill.data.pii import PiiFinder

SPACES = (" ", "\u00a0", "\u202f", "  ", "-", ".", "\u2011")
CARRIERS = ("Please reach me under {}.", "{}", "My number: {}", "Customer wrote: {} thanks", "電話番号は{}です")
BARE = ("It is {} today.", "order {} shipped", "{}", "see {} for more", "id={}")


def group(digits: str, sizes: tuple[int, ...], mark: str) -> str:
    """Return the digits in groups with a mark between them."""
    parts, start = [], 0
    for size in sizes:
        parts.append(digits[start : start + size])
        start += size
    return mark.join([*parts, digits[start:]] if digits[start:] else parts)


def cards(chance: random.Random) -> Iterator[str]:
    """Yield card numbers in everyday spellings."""
    while True:
        prefix, length = chance.choice((("4", 16), ("51", 16), ("2221", 16), ("37", 15)))
        body = prefix + "".join(chance.choices(string.digits, k=length - len(prefix) - 1))
        number = body + luhn.calc_check_digit(body)
        sizes = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
        yield number if chance.random() < 0.3 else group(number, sizes, chance.choice(SPACES))


def accounts(chance: random.Random) -> Iterator[str]:
    """Yield account numbers (IBAN) in everyday spellings."""
    while True:
        country, length = chance.choice((("DE", 18), ("AT", 16), ("BE", 12), ("PL", 24)))
        account = "".join(chance.choices(string.digits, k=length))
        number = country + mod_97_10.calc_check_digits(account + country) + account
        yield number if chance.random() < 0.3 else group(number, (4,) * (len(number) // 4), chance.choice(SPACES))


def phones(chance: random.Random) -> Iterator[str]:
    """Yield valid phone numbers of the default regions as they are written at home and abroad."""
    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    forms = (phonenumbers.PhoneNumberFormat.NATIONAL, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    while True:
        example = phonenumbers.example_number_for_type(chance.choice(PHONE_REGIONS), chance.choice(kinds))
        changed = int(str(example.national_number)[:-4] + "".join(chance.choices(string.digits, k=4)))
        number = phonenumbers.PhoneNumber(country_code=example.country_code, national_number=changed)
        if phonenumbers.is_valid_number(number):
            yield phonenumbers.format_number(number, chance.choice(forms)).replace(" ", chance.choice((" ", "\u00a0")))


def addresses(chance: random.Random) -> Iterator[str]:
    """Yield email addresses in several scripts."""
    names = ("ada", "jörg", "o.neil", "иван", "first.last+tag", "a_b-c", "maría", "γιώργος")
    while True:
        yield f"{chance.choice(names)}@{chance.choice(('example.com', 'müller.de', 'mail.example.co.uk', 'почта.рф'))}"


def others(chance: random.Random) -> Iterator[str]:
    """Yield numbers that are nobody's: ids, hashes, times, order numbers, dates, amounts, versions."""

    def digits(count: int) -> str:
        return "".join(chance.choices(string.digits, k=count))

    def moment() -> datetime:
        return datetime.fromtimestamp(chance.uniform(1.5e9, 1.9e9), UTC)

    makers: tuple[Callable[[], str], ...] = (
        lambda: str(UUID(int=chance.getrandbits(128))),
        lambda: f"{chance.getrandbits(160):040x}",
        lambda: f"{chance.getrandbits(256):064x}",
        lambda: str(int(moment().timestamp())),
        lambda: str(int(moment().timestamp() * 1000)),
        lambda: moment().isoformat(),
        lambda: moment().strftime("%d.%m.%Y %H:%M:%S"),
        lambda: moment().strftime("%m/%d/%Y %I:%M %p"),
        lambda: digits(chance.randint(7, 14)),
        lambda: f"#{digits(chance.randint(6, 12))}",
        lambda: f"ORD-{moment().year}-{digits(6)}",
        lambda: f"{chance.randint(1, 99_999_999):,}.{digits(2)}",
        lambda: f"{chance.randint(0, 30)}.{chance.randint(0, 99)}.{chance.randint(0, 999)}",
        lambda: f"978-{digits(1)}-{digits(3)}-{digits(5)}-{digits(1)}",
        lambda: f"1Z{digits(3)}{''.join(chance.choices(string.ascii_uppercase, k=2))}{digits(10)}",
        lambda: f"{chance.uniform(0, 1):.10f}",
    )
    while True:
        yield chance.choice(makers)()


def main() -> None:
    """Print recall and false finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="numbers of each kind")
    parser.add_argument("--texts", type=Path, help="a file with a text a line")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    finder = PiiFinder()
    print(f"{'kind':8} {'count':>8} {'recall':>8}")
    for kind, source in (("email", addresses), ("iban", accounts), ("card", cards), ("phone", phones)):
        numbers = source(chance)
        hits = 0
        for _ in range(arguments.count):
            carrier, number = chance.choice(CARRIERS), next(numbers)
            hits += finder.mask(carrier.format(number)) == carrier.format(f"[{kind.upper()}]")
        print(f"{kind:8} {arguments.count:8d} {hits / arguments.count:8.2%}")
    numbers = others(chance)
    false: Counter[str] = Counter()
    for _ in range(arguments.count):
        false.update(find.kind for find in finder.finds(chance.choice(BARE).format(next(numbers))))
    print(f"\nfalse finds in {arguments.count} other numbers: {sum(false.values()) / arguments.count:.2%}", dict(false))
    if arguments.texts:
        texts = arguments.texts.read_text(encoding="utf-8").splitlines()
        finds: Counter[str] = Counter()
        began = time.perf_counter()
        for text in texts:
            finds.update(find.kind for find in finder.finds(text))
        seconds = time.perf_counter() - began
        print(f"\nin {len(texts)} texts, {seconds / max(len(texts), 1) * 1e6:.0f} us each:", dict(finds))


if __name__ == "__main__":
    main()
