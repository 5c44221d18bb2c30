"""Secrets that have to be kept to be used, such as a mail password: sealed in the database, with the key elsewhere.

A secret is sealed with AES-256-GCM (NIST SP 800-38D) under the newest key, and bound to what it belongs to, so that
nobody can move it to another row. With it stands which key it was, so a wrong key is told apart from damage.
"""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tidemill.core.errors import SecretKeyInvalid, SecretUnreadable
from tidemill.core.settings import Settings

FILE = "secret.key"
FORM = "tm1"
KEY_BYTES, NONCE_BYTES = 32, 12


class Vault:
    """Seals with the newest key, opens with any of them. `keys` are newest first, of 32 bytes each."""

    def __init__(self, keys: Sequence[bytes], home: Path) -> None:
        self._keys = {name_of(key): key for key in keys}
        self._newest = name_of(keys[0])
        self._home = home

    def seal(self, text: str, owner: str) -> str:
        """Return the secret as it may be stored; it opens for the same `owner` only, such as `notifier/ntf_01`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        hidden = AESGCM(self._keys[self._newest]).encrypt(nonce, text.encode(), owner.encode())
        return f"{FORM}:{self._newest}:{base64.urlsafe_b64encode(nonce + hidden).decode()}"

    def open(self, sealed: str, owner: str) -> str:
        """Return the secret in the clear. Raises SecretUnreadable when its key is not here or it was changed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        form, _, rest = sealed.partition(":")
        name, _, body = rest.partition(":")
        key = self._keys.get(name)
        if form != FORM or key is None:
            raise SecretUnreadable(
                f"The secret of {owner} was sealed with the key {name!r}, which is not here; "
                f"here is {', '.join(self._keys)}.",
                hint=f"Put that key behind the newest one in TIDEMILL_SECRET_KEY or {self._home / FILE} and start "
                "again. If it is lost, set the secret anew.",
                details={"owner": owner, "key": name},
            )
        try:
            raw = base64.urlsafe_b64decode(body)
            return AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], owner.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadable(
                f"The secret of {owner} was changed since it was sealed.", hint="Set it anew.", details={"owner": owner}
            ) from error

    def is_newest(self, sealed: str) -> bool:
        """Return whether it is sealed with the newest key."""
        return sealed.startswith(f"{FORM}:{self._newest}:")


def name_of(key: bytes) -> str:
    """Return the public name of a key: eight characters of its hash."""
    return hashlib.sha256(b"tidemill key " + key).hexdigest()[:8]


def open_vault(settings: Settings) -> Vault:
    """Return the vault of this installation: the keys of the setting, then those of the file in the home.

    Without the setting and without the file a key is made there, which only the owner may read. Raises
    SecretKeyInvalid.
    """
    path = settings.home / FILE
    setting = settings.secret_key.get_secret_value() if settings.secret_key is not None else ""
    keys = _keys(setting.replace(",", "\n"), "TIDEMILL_SECRET_KEY")
    if not keys and not path.exists():
        _create_key(path)
    if path.exists():
        path.chmod(0o600)
        keys += _keys(path.read_text(encoding="ascii", errors="replace"), str(path))
    if not keys:
        raise SecretKeyInvalid(f"{path} holds no key.", hint=_HINT)
    return Vault(keys, settings.home)


_HINT = "Make one: openssl rand -base64 32"


def _keys(text: str, where: str) -> list[bytes]:
    keys = []
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    for number, line in enumerate(lines, 1):
        try:
            key = base64.b64decode(line.replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise SecretKeyInvalid(
                f"{where}: key {number} of {len(lines)} is not 32 bytes in base64; it has {len(line)} characters.",
                hint=_HINT,
            )
        keys.append(key)
    return keys


def _create_key(path: Path) -> None:
    """A new key, whole from the first moment on: of two processes that make one, both go on with the same."""
    fresh = path.with_name(f".{FILE}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write("# Secrets in the database are sealed with this. Keep a copy, and keep it apart from backups.\n")
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    except FileExistsError:
        return
    finally:
        fresh.unlink()
