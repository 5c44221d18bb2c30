"""Imports with the garbage collector off."""

import gc
import sys

import pytest

from tidemill.core.imports import import_at_once


def test_the_collector_rests_during_an_import_and_goes_on_after_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_some_module.py").write_text("import gc\nwas_enabled = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    frozen = gc.get_freeze_count()
    assert import_at_once("of_some_module").was_enabled is False
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen, "what an import makes is never looked at again"
    del sys.modules["of_some_module"]
    gc.unfreeze()


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_at_once("tidemill.no_such_module")
    assert gc.isenabled()
    gc.unfreeze()
