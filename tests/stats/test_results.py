"""Results inside the features' own types."""

import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from tidemill.stats.paired import paired_comparison
from tidemill.stats.rates import wilson
from tidemill.stats.results import Difference, Rate


class _Holder(BaseModel):
    difference: Difference
    rate: Rate


def test_a_result_survives_json_and_refuses_unknown_fields() -> None:
    value = _Holder(difference=paired_comparison([0, 1] * 10, [1, 1] * 10), rate=wilson(3, 4))
    assert _Holder.model_validate_json(value.model_dump_json()) == value
    with pytest.raises(ValidationError, match="extra"):
        _Holder.model_validate(value.model_dump() | {"rate": {**value.model_dump()["rate"], "extra": 1}})


def test_the_schema_shows_what_the_fields_mean() -> None:
    schema = _Holder.model_json_schema(mode="serialization")["$defs"]["Difference"]
    assert schema["properties"]["n_eff"]["description"] == "How many independent pairs the pairs are worth."
    assert schema["additionalProperties"] is False
    assert len(schema["required"]) == len(schema["properties"])


def test_results_load_no_numeric_library() -> None:
    code = "import sys, tidemill.stats.results; print(sorted({'numpy', 'scipy', 'pydantic'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
