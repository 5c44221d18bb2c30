"""Every setting of Tidemill. The environment is read here and nowhere else."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from tidemill.core.imports import environment_before_sparing

HOME_NAME = ".tidemill"
PREFIX = "tidemill_"


def find_home(start: Path | None = None) -> Path:
    """Return the nearest `.tidemill` folder from `start` upwards; else the one to be made in `start` itself."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / HOME_NAME).is_dir():
            return folder / HOME_NAME
    return here / HOME_NAME


class Settings(BaseModel):
    """Settings come from the environment (`TIDEMILL_...`); each has a default that works on a laptop."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    home: Path = Field(
        default_factory=find_home,
        description="Folder of everything kept locally. Default: the nearest `.tidemill` folder upwards.",
    )
    url: str | None = Field(default=None, description="A Tidemill server to talk to instead of the local home.")
    api_key: SecretStr | None = Field(default=None, description="The key the SDK and the CLI send.")
    host: str = Field(default="127.0.0.1", description="Address the server listens on.")
    port: int = Field(default=8484, ge=0, le=65535, description="Port the server listens on; 0 takes a free one.")
    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of a PostgreSQL database. Default: SQLite in the home folder.",
    )
    blob_url: str | None = Field(
        default=None, description="`s3://bucket/prefix` for blobs. Default: a folder in the home folder."
    )
    s3_endpoint: str | None = Field(default=None, description="Endpoint of an S3-compatible store.")
    s3_access_key_id: str | None = Field(default=None, description="Access key of the S3 store.")
    s3_secret_access_key: SecretStr | None = Field(default=None, description="Secret key of the S3 store.")
    s3_region: str = Field(default="us-east-1", description="Region of the S3 store.")
    secret_key: SecretStr | None = Field(
        default=None,
        description="Keys that seal the secrets in the database, such as those of notifiers: each 32 bytes in base64, "
        "the newest first, commas between. Servers that share a database need the same. Default: `secret.key` in the "
        "home folder.",
    )
    jobs_concurrency: int = Field(
        default=1, ge=1, description="How many heavy jobs (training, conversion, evaluation) run at once."
    )
    threads: int = Field(
        default_factory=lambda: min(os.cpu_count() or 1, 16),
        ge=1,
        description="Processor threads that model engines and training may use. Default: all cores, at most 16.",
    )
    engine: str = Field(
        default="llamacpp",
        description="Which engine serves models: a name among the entry points `tidemill.engines` that are installed.",
    )
    engine_context: int = Field(
        default=2048, ge=256, description="Tokens of context that an engine keeps for each request it works on at once."
    )
    engine_parallel: int = Field(default=8, ge=1, description="Requests that one engine works on at once.")
    engine_idle_seconds: float = Field(
        default=120.0, ge=1, description="An engine that no environment needs ends after so long without a request."
    )
    engines_on_demand: int = Field(
        default=2, ge=1, description="How many engines may run that no environment needs, such as for an evaluation."
    )
    max_body_bytes: int = Field(
        default=10 * 2**20, ge=1024, description="Largest request body in bytes, blobs excepted."
    )
    max_bytes_inside: int = Field(
        default=128 * 2**20,
        ge=1024,
        description="Bytes of request bodies that may be inside at once, in the gateway and in the management API "
        "each; beyond it callers are asked to wait.",
    )
    max_blob_bytes: int = Field(default=64 * 2**30, ge=1024, description="Largest blob in bytes.")
    gateway_patience_seconds: float = Field(
        default=1.0,
        ge=0,
        description="How long a response waits for its call to be recorded when the store is slow or away.",
    )
    storage_keep_days: int = Field(
        default=30,
        ge=0,
        description="Days that blobs which nothing refers to, folders of ended jobs, logs of engines and caches are "
        "kept; 0 removes nothing by itself.",
    )
    trace_search: bool = Field(default=True, description="Whether the words of spans are indexed for full-text search.")
    trace_retention_days: int = Field(
        default=90, ge=0, description="Days that spans are kept; 0 keeps them for good. Older spans are not taken in."
    )
    trace_keep_scores: bool = Field(
        default=False, description="Whether scores stay when the day of their spans is removed."
    )
    trace_queue_spans: int = Field(
        default=20_000, ge=100, description="Spans that may wait to be stored; beyond it senders are asked to wait."
    )
    trace_queue_bytes: int = Field(
        default=128 * 2**20,
        ge=1024,
        description="Bytes of spans that may be received and wait to be stored; beyond it senders are asked to wait.",
    )
    trace_max_request_bytes: int = Field(
        default=64 * 2**20, ge=1024, description="Largest OTLP request in bytes, as sent and unpacked."
    )
    trace_max_value_bytes: int = Field(
        default=2**20, ge=256, description="Longest text of a span that is stored whole; a longer one is cut."
    )
    trace_content: Literal["on", "off"] = Field(
        default="on", description="Whether inputs and outputs of traces are stored; off keeps names and figures only."
    )
    trace_mask: str = Field(
        default="",
        description="Personal data to mask in traces before they are stored: a list of email, phone, card, iban, ip, "
        "secret, or all. Rules beside it: `tidemill masking`.",
    )
    phone_regions: str = Field(
        default="US,GB,DE,FR",
        description="Whose national spellings of phone numbers are masked in traces: codes of ISO 3166-1 with commas. "
        "Numbers that begin with + are masked wherever they are from.",
    )
    monitor_seconds: float = Field(
        default=60.0, ge=0.1, description="How often SLOs, KPIs and triggers are checked, in seconds."
    )
    log_level: str = Field(default="info", description="debug, info, warning or error.")

    @model_validator(mode="before")
    @classmethod
    def _with_environment(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the environment says, in capitals or not, below what the caller gives."""
        environment = {name.lower(): text for name, text in os.environ.items()}
        from_environment = {
            name: environment[PREFIX + name] for name in cls.model_fields if PREFIX + name in environment
        }
        return from_environment | arguments

    @property
    def sql_url(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite:///{self.home / 'tidemill.db'}"

    def provider_key(self, name: str) -> str | None:
        """Return the key of an outside endpoint, from the environment variable that a request names.

        Never one of ours.
        """
        return None if name.startswith("TIDEMILL_") else os.environ.get(name)

    def child_environment(self) -> dict[str, str]:
        """Return the environment for a process of ours that must find the same home."""
        return {**environment_before_sparing(), "TIDEMILL_HOME": str(self.home)}
