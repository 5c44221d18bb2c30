"""Listing calls of an environment that does not exist."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidemill.cli import app
from tidemill.client import Client
from tidemill.gateway.types import UnknownEnvironment


def test_calls_to_an_environment_that_does_not_exist_are_an_error_and_no_empty_list(client: Client) -> None:
    with pytest.raises(UnknownEnvironment, match="'moon'") as caught:
        client.gateway.calls(environment="moon")
    assert (caught.value.hint, caught.value.param) == ("There are dev, qa, prod.", "environment")
    assert client.gateway.calls(environment="prod").items == []


def test_the_command_says_so(home: Path) -> None:
    refused = CliRunner().invoke(app, ["calls", "list", "--env", "moon"])
    assert isinstance(refused.exception, UnknownEnvironment)
    assert "No calls yet" in CliRunner().invoke(app, ["calls", "list", "--env", "dev"]).output
