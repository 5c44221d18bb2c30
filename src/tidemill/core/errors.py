"""The error tree.

    TidemillError            500 error
    |- Invalid               422 invalid
    |- BadRequest            400 bad_request
    |- Unauthorized          401 unauthorized
    |- Forbidden             403 forbidden
    |- NotFound              404 not_found
    |- MethodNotAllowed      405 method_not_allowed
    |- Conflict              409 conflict
    |- TooLarge              413 too_large
    |- Failed                500 failed
    |- Unavailable           503 unavailable
    `- StorageFull           507 storage_full

A feature subclasses these in its `types.py` and gives its own stable `code`. The server turns an error into
`{"error": {...}}` with its status; the SDK raises the same class again; the CLI prints one line and the hint.
"""

import difflib
from collections.abc import Iterator
from typing import Any, ClassVar

from tidemill.core.wire import Value


class ErrorBody(Value):
    """An error on the wire, a superset of OpenAI's error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    hint: str | None = None
    details: dict[str, Any] | None = None


class ErrorReply(Value):
    """The body of every reply that is not a success."""

    error: ErrorBody


class TidemillError(Exception):
    """What went wrong, said so that the reader can act.

    `message` names the value that was seen, `hint` says what to do next, `param` names the offending input.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        param: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        self.details = details

    def body(self) -> ErrorBody:
        """Return the error as the API shows it."""
        return ErrorBody(
            message=self.message,
            type=error_type(self.status),
            param=self.param,
            code=self.code,
            hint=self.hint,
            details=self.details,
        )


class Invalid(TidemillError):
    """The input has the right form but a value that cannot be accepted."""

    code = "invalid"
    status = 422


class BadRequest(TidemillError):
    """The input cannot be read at all."""

    code = "bad_request"
    status = 400


class BodyIncomplete(BadRequest):
    """The request ended before its body was complete."""

    code = "body_incomplete"


class BodyTimeout(TidemillError):
    """The body of the request did not come in time."""

    code = "body_timeout"
    status = 408


class Unauthorized(TidemillError):
    """No key, or a key that is not valid (any more)."""

    code = "unauthorized"
    status = 401


class Forbidden(TidemillError):
    """The caller is known but may not do this."""

    code = "forbidden"
    status = 403


class NotFound(TidemillError):
    """There is no such thing."""

    code = "not_found"
    status = 404


class MethodNotAllowed(TidemillError):
    """There is such a thing, but it does not take this HTTP method."""

    code = "method_not_allowed"
    status = 405


class Conflict(TidemillError):
    """The state of things does not allow this now."""

    code = "conflict"
    status = 409


class TooLarge(TidemillError):
    """The input is larger than the limit."""

    code = "too_large"
    status = 413


class Failed(TidemillError):
    """Something of ours went wrong."""

    code = "failed"
    status = 500


class Unavailable(TidemillError):
    """Not now; trying again later may help."""

    code = "unavailable"
    status = 503


class ValueUnfit(Invalid):
    """A setting or an argument does not fit its field; found before anything is sent."""

    code = "value_unfit"


class ConfirmationMissing(Invalid):
    """What cannot be undone was asked for, and nobody is there to confirm it."""

    code = "confirmation_missing"


class FileRefused(Failed):
    """The system refuses a file or folder of the caller's."""

    code = "file_refused"


class StorageFull(TidemillError):
    """The disk or the object store takes no more."""

    code = "storage_full"
    status = 507


class SecretUnreadable(Failed):
    """A secret that is kept sealed cannot be opened: its key is not here, or it was changed."""

    code = "secret_unreadable"


class SecretKeyInvalid(Failed):
    """A key for keeping secrets is no key."""

    code = "secret_key_invalid"


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


def error_type(status: int) -> str:
    """Return OpenAI's `type` word for an HTTP status: every 4xx is the caller's fault."""
    return _TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "server_error")


def _tree(root: type[TidemillError]) -> Iterator[type[TidemillError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def rebuild(status: int, body: ErrorBody) -> TidemillError:
    """Return the error that the server raised, as the same class again when it is known here."""
    for kind in _tree(TidemillError):
        if kind.code == body.code and kind.status == status:
            error_class = kind
            break
    else:
        error_class = next((k for k in TidemillError.__subclasses__() if k.status == status), TidemillError)
    # __new__ skips subclass constructors, which may take other arguments than the five of the wire.
    error = error_class.__new__(error_class)
    TidemillError.__init__(error, body.message, hint=body.hint, param=body.param, details=body.details)
    return error


def of_body(body: ErrorBody) -> TidemillError:
    """Return the error in a body without an HTTP status, such as a failed job's, as its own class."""
    status = next((kind.status for kind in _tree(TidemillError) if kind.code == body.code), Failed.status)
    return rebuild(status, body)


def nearest(word: str, candidates: list[str], count: int = 3) -> list[str]:
    """Return the candidates most like `word`, for "did you mean"."""
    return difflib.get_close_matches(word, candidates, n=count, cutoff=0.5)
