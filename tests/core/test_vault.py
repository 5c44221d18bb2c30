"""The vault: keys in the home or the setting, older keys, wrong keys."""

import base64
import secrets
from pathlib import Path
from threading import Thread

import pytest

from tidemill.core.errors import SecretKeyInvalid, SecretUnreadable
from tidemill.core.settings import Settings
from tidemill.core.vault import FILE, Vault, open_vault

OLD, NEW = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))


def vault(home: Path, keys: str | None = None) -> Vault:
    home.mkdir(exist_ok=True)
    return open_vault(Settings(home=home, secret_key=keys))


def test_the_first_start_makes_a_key_that_only_the_owner_reads(home: Path) -> None:
    sealed = vault(home).seal("hunter2", "notifier/ntf_1")
    assert (home / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == [FILE]
    assert "hunter2" not in sealed
    assert vault(home).open(sealed, "notifier/ntf_1") == "hunter2"
    assert vault(home).seal("hunter2", "notifier/ntf_1") != sealed


def test_two_processes_at_once_go_on_with_one_key(home: Path) -> None:
    home.mkdir()
    keys: list[str] = []
    threads = [Thread(target=lambda: keys.append(vault(home).seal("x", "o"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {vault(home).open(sealed, "o") for sealed in keys} == {"x"}
    assert len(keys) == 8


def test_a_file_that_others_may_read_is_closed(home: Path) -> None:
    vault(home)
    (home / FILE).chmod(0o644)
    vault(home)
    assert (home / FILE).stat().st_mode & 0o777 == 0o600


def test_a_new_key_seals_and_the_old_one_still_opens(home: Path) -> None:
    before = vault(home, OLD)
    sealed = before.seal("hunter2", "o")
    both = vault(home, f"{NEW}, {OLD}")
    assert both.open(sealed, "o") == "hunter2"
    assert not both.is_newest(sealed)
    again = both.seal("hunter2", "o")
    assert vault(home, NEW).open(again, "o") == "hunter2"
    assert not (home / FILE).exists()


def test_the_setting_takes_over_from_the_file(home: Path) -> None:
    sealed = vault(home).seal("hunter2", "o")
    new_vault = vault(home, NEW)
    assert new_vault.open(sealed, "o") == "hunter2"
    assert not new_vault.is_newest(sealed)


def test_a_wrong_key_is_named_with_what_to_do(home: Path) -> None:
    sealed = vault(home, OLD).seal("hunter2", "notifier/ntf_1")
    with pytest.raises(SecretUnreadable, match="was sealed with the key") as caught:
        vault(home, NEW).open(sealed, "notifier/ntf_1")
    assert "TIDEMILL_SECRET_KEY" in str(caught.value.hint)
    assert NEW not in caught.value.message + str(caught.value.hint)


def test_a_secret_that_was_moved_or_changed_does_not_open(home: Path) -> None:
    file_vault = vault(home)
    sealed = file_vault.seal("hunter2", "notifier/ntf_1")
    for text, owner in ((sealed, "notifier/ntf_2"), (sealed[:-6] + "AAAA==", "notifier/ntf_1"), (sealed[:30], "x")):
        with pytest.raises(SecretUnreadable, match="was changed"):
            file_vault.open(text, owner)


# Named, since the keys are drawn anew in every process, and the workers of one run must agree on the names of tests.
@pytest.mark.parametrize(
    "keys", ["short", f"{OLD},nonsense", OLD[:-5] + "!!!!="], ids=["short", "second of two", "no base64"]
)
def test_what_is_no_key_is_refused_without_showing_it(home: Path, keys: str) -> None:
    with pytest.raises(SecretKeyInvalid, match="not 32 bytes in base64") as caught:
        vault(home, keys)
    assert keys[:20] not in caught.value.message
    assert "openssl rand" in str(caught.value.hint)


def test_an_empty_file_is_no_key(home: Path) -> None:
    home.mkdir()
    (home / FILE).write_text("# nothing\n")
    with pytest.raises(SecretKeyInvalid, match="holds no key"):
        vault(home)
