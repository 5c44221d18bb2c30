"""A checkpoint is there whole or not at all, wherever the process is killed."""

from pathlib import Path
from typing import Any

import pytest

from tidemill.tuning import checkpoints


def tensors(value: float) -> dict[str, dict[str, Any]]:
    import torch

    return {"weights": {"w": torch.full((3,), value)}}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.tune
@pytest.mark.parametrize("moves_before_the_kill", [0, 1, 2])
def test_a_replacement_that_is_killed_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves_before_the_kill: int
) -> None:
    checkpoints.save(tmp_path, "best", tensors(1), {"step": 1})
    moves, rename = [], Path.rename

    def killed_at_rename(self: Path, target: Path) -> Path:
        if len(moves) == moves_before_the_kill:
            raise Killed
        moves.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_at_rename)
        if moves_before_the_kill < 2:
            with pytest.raises(Killed):
                checkpoints.save(tmp_path, "best", tensors(2), {"step": 2})
        else:
            checkpoints.save(tmp_path, "best", tensors(2), {"step": 2})

    step = checkpoints.read_state(checkpoints.saved(tmp_path, "best"))["step"]
    assert step == (1 if moves_before_the_kill == 0 else 2)
    checkpoints.save(tmp_path, "best", tensors(3), {"step": 3})
    assert checkpoints.read_state(checkpoints.saved(tmp_path, "best"))["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
