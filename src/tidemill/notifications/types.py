"""Alerts, one for each cause, and the notifiers that tell people and programs of them."""

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_serializer, model_validator

from tidemill.core.errors import Conflict, NotFound, Unavailable
from tidemill.core.value_faults import EMAIL_FORM
from tidemill.core.wire import Body, Instant, Value

Severity = Literal["page", "ticket"]
"""`page` wakes somebody, `ticket` waits for the morning."""

AlertState = Literal["open", "acknowledged", "resolved"]


class AlertNotFound(NotFound):
    """No alert has this id."""

    code = "alert_not_found"


class AlertEnded(Conflict):
    """The alert is resolved already."""

    code = "alert_ended"


class AlertCause(Value):
    """What an alert is about. While one of the same kind, name and severity is not resolved, no second one opens."""

    kind: Literal["slo", "kpi", "drift", "trigger"]
    name: str
    severity: Severity
    title: str = Field(description="One line for a person.")
    evidence: dict[str, Any] = Field(description="The figures behind the alert.")

    @property
    def key(self) -> str:
        """Return the text that tells causes apart, such as `slo:in-time:page`."""
        return f"{self.kind}:{self.name}:{self.severity}"


class Alert(Value):
    """A fault that people should know of, from its first detection until it is resolved."""

    id: str
    kind: Literal["slo", "kpi", "drift", "trigger"]
    name: str = Field(description="Name of the SLO, KPI, drift monitor or trigger.")
    severity: Severity
    state: AlertState
    title: str
    evidence: dict[str, Any] = Field(description="The figures when the cause was last detected.")
    opened_at: Instant
    seen_at: Instant = Field(description="When the cause was last detected.")
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    resolved_at: Instant | None
    resolved_by: str | None = Field(description="`system` when the cause was gone.")
    note: str


class AlertChange(Value):
    """One entry in the history of an alert."""

    at: Instant
    what: str = Field(description="opened, acknowledged, resolved, told or not told.")
    by: str
    note: str


class AlertDetail(Value):
    """An alert with its history, oldest first."""

    alert: Alert
    history: list[AlertChange]


class AlertNote(Body):
    """A person's reason for acknowledging or resolving an alert."""

    note: str = Field(default="", max_length=2000)


NotifierKind = Literal["webhook", "slack", "email"]
DeliveryState = Literal["waiting", "sent", "failed"]


class NotifierNotFound(NotFound):
    """No notifier has this name."""

    code = "notifier_not_found"


class DeliveryNotFound(NotFound):
    """No delivery has this id."""

    code = "delivery_not_found"


class DeliveryNotEnded(Conflict):
    """Only a delivery that failed for good is sent again by hand."""

    code = "delivery_not_failed"


class ChannelFailed(Unavailable):
    """The receiver did not take the message."""

    code = "channel_failed"

    final = False
    """Whether trying again is of no use."""


class NotifierPut(Body):
    """Where alerts are sent. Reads show only whether a secret is set."""

    kind: NotifierKind
    url: SecretStr | None = Field(
        default=None, description="webhook, slack: where to POST. Kept secret, since it may contain a token."
    )
    secret: SecretStr | None = Field(
        default=None,
        description="webhook: the key that signs; made when left out, and shown once. email: the SMTP password.",
    )
    host: str | None = Field(default=None, max_length=255, description="email: the SMTP server.")
    port: int = Field(default=587, ge=1, le=65535, description="email: its port.")
    security: Literal["starttls", "tls", "none"] = Field(default="starttls", description="email: how it is encrypted.")
    username: str | None = Field(default=None, max_length=320, description="email: the SMTP user.")
    sender: str | None = Field(default=None, max_length=320, pattern=EMAIL_FORM, description="email: From.")
    recipients: list[str] = Field(default_factory=list, max_length=50, description="email: To.")
    severities: list[Severity] = Field(default=["page", "ticket"], min_length=1, description="Which alerts it sends.")

    @field_serializer("url", "secret", when_used="json-unless-none")
    def _on_the_wire(self, value: SecretStr) -> str:
        return value.get_secret_value()  # only the SDK makes JSON of it, to send it

    @model_validator(mode="after")
    def _complete(self) -> "NotifierPut":
        if self.kind == "email":
            if not (self.host and self.sender and self.recipients):
                raise ValueError("an e-mail notifier needs `host`, `sender` and `recipients`")
            if any(" " in r or "\n" in r or r.count("@") != 1 for r in self.recipients):
                raise ValueError("`recipients` holds something that is no e-mail address")
            if self.username and self.security == "none":
                raise ValueError("a user and a password are sent over an encrypted connection only: not `none`")
            return self
        if self.url is None:
            raise ValueError(f"a {self.kind} notifier needs `url`")
        parts = urlsplit(self.url.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("`url` is not an http or https address")
        return self


class Notifier(Value):
    """A notifier as it may be shown: without its secrets."""

    id: str
    name: str
    kind: NotifierKind
    target: str = Field(description="Server of the URL, or the recipients.")
    config: dict[str, Any] = Field(description="Its settings without secrets.")
    signed: bool = Field(description="Whether a secret is kept for it.")
    severities: list[Severity]
    saved_by: str
    saved_at: Instant


class NotifierSaved(Value):
    """A notifier as it was just saved."""

    notifier: Notifier
    secret: str | None = Field(description="The signing key when it was made just now. It is shown this once.")


class Delivery(Value):
    """One message to one notifier. It is sent at least once; its id tells a second copy from a new message."""

    id: str
    notifier: str
    alert_id: str | None
    what: str = Field(description="Such as `alert.opened`.")
    state: DeliveryState
    attempts: int
    error: str | None = Field(description="The error of the last attempt.")
    created_at: Instant
    next_at: Instant | None = Field(description="When it is tried next.")
    sent_at: Instant | None


class NotificationMessage(Value):
    """What a delivery says, before it is put into the form of a channel."""

    what: str = Field(description="Such as `alert.opened`.")
    title: str
    lines: list[str]
    data: dict[str, Any]
