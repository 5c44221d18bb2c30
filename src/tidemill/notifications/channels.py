"""The channels of a message: a signed webhook, Slack's incoming webhooks, and e-mail.

A receiver is never trusted to answer: each step has a time-out, the worker gives up after `ATTEMPT_TIMEOUT_S`
(see `outbox_worker.py`), redirects are not followed, and a reply's body is not read.
"""

import hashlib
import hmac
import json
import random
import smtplib
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import httpx

from tidemill.notifications.types import ChannelFailed, NotificationMessage

STEP_TIMEOUT_S = 5.0
"""How long one step of an attempt may take: connecting, or waiting for an answer."""

ATTEMPT_TIMEOUT_S = 15.0
"""How long a whole attempt may take, however slowly the receiver answers."""

GIVE_UP_AFTER = timedelta(hours=24)

INITIAL_BACKOFF_S, MAX_BACKOFF_S = 2.0, 1800.0

SIGNATURE, DELIVERY = "tidemill-signature", "tidemill-delivery"


def back_off(attempts: int) -> float:
    """Return the seconds until the next attempt: doubled each time up to half an hour, with 10% jitter."""
    return min(MAX_BACKOFF_S, INITIAL_BACKOFF_S * 2.0 ** min(attempts - 1, 20)) * random.uniform(0.9, 1.1)


def send(
    kind: str, config: dict[str, Any], secrets: dict[str, str], delivery_id: str, message: NotificationMessage
) -> None:
    """Send one message, and return when the receiver has accepted it. Raises ChannelFailed."""
    _CHANNELS[kind](config, secrets, delivery_id, message)


def sign(secret: str, stamp: int, body: bytes) -> str:
    """Return the signature's header: `t=<seconds>,v1=<hex>`, HMAC-SHA256 over `<seconds>.<body>`."""
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


def verify(secret: str, header: str, body: bytes, *, tolerance_s: float = 300.0, now: float | None = None) -> bool:
    """Return whether a webhook's body was signed with `secret` within `tolerance_s` seconds. For receivers."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    stamp = parts.get("t", "")
    if not stamp.isdecimal() or len(stamp) > 12:
        return False
    if abs((time.time() if now is None else now) - int(stamp)) > tolerance_s:
        return False
    return hmac.compare_digest(sign(secret, int(stamp), body).encode(), f"t={stamp},v1={parts.get('v1', '')}".encode())


def _webhook(_config: dict[str, Any], secrets: dict[str, str], delivery_id: str, message: NotificationMessage) -> None:
    payload = {"id": delivery_id, "type": message.what, "title": message.title, "data": message.data}
    body = json.dumps(payload, ensure_ascii=False).encode()
    headers = {DELIVERY: delivery_id, SIGNATURE: sign(secrets["secret"], int(time.time()), body)}
    _post(secrets["url"], body, headers)


def _slack(_config: dict[str, Any], secrets: dict[str, str], delivery_id: str, message: NotificationMessage) -> None:
    title = _escape_markup(message.title)
    details = "\n".join(_escape_markup(line) for line in message.lines)
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*\n{details}"[:3000]}}]
    _post(secrets["url"], json.dumps({"text": title, "blocks": blocks}).encode(), {DELIVERY: delivery_id})


def _escape_markup(text: str) -> str:
    # Slack reads these three as markup, so a title cannot call a whole channel.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    headers = headers | {"content-type": "application/json", "user-agent": "tidemill"}
    try:
        with (
            httpx.Client(timeout=STEP_TIMEOUT_S, follow_redirects=False) as client,
            client.stream("POST", url, content=body, headers=headers) as reply,
        ):
            status = reply.status_code
    except httpx.TimeoutException as error:
        raise ChannelFailed(f"no answer within {STEP_TIMEOUT_S:g} s ({type(error).__name__})") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ChannelFailed(f"{type(error).__name__}: {error}") from error
    if not 200 <= status < 300:
        failed = ChannelFailed(f"the receiver answered {status}")
        failed.final = status == 410
        raise failed


def _email(config: dict[str, Any], secrets: dict[str, str], delivery_id: str, message: NotificationMessage) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = config["sender"], ", ".join(config["recipients"])
    mail["Subject"] = " ".join(f"[Tidemill] {message.title}".split())[:200]
    # The same id each time: a mail server or a reader can drop the second copy.
    mail["Message-ID"] = f"<{delivery_id}@{config['sender'].rpartition('@')[2]}>"
    figures = json.dumps(message.data, indent=2, ensure_ascii=False)
    mail.set_content("\n".join([message.title, "", *message.lines, "", figures, ""]))
    try:
        with _connect(config) as server:
            if config.get("username"):
                server.login(config["username"], secrets.get("secret", ""))
            refused = server.send_message(mail)
    except smtplib.SMTPResponseException as error:
        answer = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise ChannelFailed(f"the mail server answered {error.smtp_code} {answer}") from error
    except smtplib.SMTPRecipientsRefused as error:
        raise ChannelFailed(f"the mail server refused {', '.join(error.recipients)}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise ChannelFailed(f"{type(error).__name__}: {error}") from error
    if refused:
        # Those who were taken have the mail; sending it again would give it to them twice.
        failed = ChannelFailed(f"the mail server took it for others, and refused {', '.join(refused)}")
        failed.final = True
        raise failed


def _connect(config: dict[str, Any]) -> smtplib.SMTP:
    host, port, security = config["host"], config["port"], config["security"]
    if security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=STEP_TIMEOUT_S, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=STEP_TIMEOUT_S)
    if security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


_CHANNELS: dict[str, Callable[[dict[str, Any], dict[str, str], str, NotificationMessage], None]] = {
    "webhook": _webhook,
    "slack": _slack,
    "email": _email,
}
