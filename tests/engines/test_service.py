"""Which engine is used is a setting; what an engine serves, it says itself."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.deployments.test_service import order
from tests.releases.makers import make_release
from tidemill.core import plugins
from tidemill.core.kernel import Context
from tidemill.core.plugins import PluginMissing, Plugins
from tidemill.core.settings import Settings
from tidemill.deployments import models
from tidemill.deployments.types import NotDeployable
from tidemill.engines.llamacpp import LlamaCpp
from tidemill.engines.service import list_formats, load_engine
from tidemill.server.operations import CHECKS


class Trainable(LlamaCpp):
    """An engine of another package, which serves what a trainer writes."""

    formats = ("safetensors",)
    package = "a_package_that_nobody_installed"


READY = Trainable()


@pytest.fixture
def _another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    points = plugins._entry_points("tidemill.engines")
    added = {
        name: EntryPoint(name=name, value=f"{__name__}:{what}", group="tidemill.engines")
        for name, what in (("trainable", "Trainable"), ("ready", "READY"))
    }
    monkeypatch.setattr(plugins, "_entry_points", lambda group: points | added)


def choose(home: Path, name: str) -> Settings:
    return Settings(home=home, engine=name)


def test_llama_cpp_is_the_engine_unless_another_is_chosen(home: Path) -> None:
    assert isinstance(load_engine(Plugins(), Settings(home=home)), LlamaCpp)
    assert list_formats(Plugins(), Settings(home=home)) == ("gguf",)


@pytest.mark.usefixtures("_another_engine")
def test_the_setting_chooses_a_class_or_an_object(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load_engine(Plugins(), choose(home, "trainable")), Trainable)
    assert load_engine(Plugins(), choose(home, "ready")) is READY
    monkeypatch.setenv("TIDEMILL_ENGINE", "trainable")
    assert Settings(home=home).engine == "trainable"


def test_an_engine_that_is_not_there_is_said_with_those_that_are(home: Path) -> None:
    with pytest.raises(PluginMissing, match="vllm") as caught:
        load_engine(Plugins(), choose(home, "vllm"))
    assert "llamacpp" in str(caught.value.hint)
    checks = [check for find in CHECKS for check in find(choose(home, "vllm")) if check.name == "engine"]
    assert [(check.result, "vllm" in check.what) for check in checks] == [("fault", True)]


@pytest.mark.usefixtures("_another_engine")
def test_what_the_engine_serves_decides_what_is_deployed(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_release(ctx, tmp_path)
    assert "tiny@1" in [card.id for card in models.list_cards(ctx)]
    monkeypatch.setattr(ctx.kernel, "settings", ctx.kernel.settings.model_copy(update={"engine": "trainable"}))
    with pytest.raises(NotDeployable, match="serves SAFETENSORS"):
        order(ctx, "hello")
    assert "tiny@1" not in [card.id for card in models.list_cards(ctx)]
    checks = [check for find in CHECKS for check in find(ctx.kernel.settings) if check.name == "engine"]
    assert [check.what for check in checks] == ["a_package_that_nobody_installed is not installed: no serving models"]
