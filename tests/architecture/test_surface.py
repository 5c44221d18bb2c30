"""What the outside sees: routes, errors, settings, the schema and a light import."""

import json
import subprocess
import sys
from collections import Counter

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from fastapi.routing import APIRoute

from tests.architecture.source import ROOT
from tidemill.client import Client
from tidemill.core import db
from tidemill.core.actors import ROLES
from tidemill.core.db import Database
from tidemill.core.errors import TidemillError
from tidemill.core.settings import Settings
from tidemill.core.web import ROLE_KEY
from tidemill.server import reference
from tidemill.server.app import ROUTERS, build_kernel


def _tree(root: type[TidemillError]) -> list[type[TidemillError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


def test_every_route_names_the_role_it_needs() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    wrong = [r.path for r in routes if (r.openapi_extra or {}).get(ROLE_KEY) not in ROLES]
    assert routes
    assert not wrong, f"Give openapi_extra=role(...) to {wrong}"


def test_every_error_has_a_code_of_its_own() -> None:
    ours = [kind for kind in _tree(TidemillError) if kind.__module__.startswith("tidemill.")]
    counts = Counter((kind.code, kind.status) for kind in ours)
    twice = [kind.__qualname__ for kind in ours if counts[kind.code, kind.status] > 1]
    assert not twice, f"The SDK could not tell these apart: {twice}"


def test_every_setting_says_what_it_does_and_the_page_is_current() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert not silent
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert page == reference.settings_page(), "Run `make reference`."


def test_the_command_page_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == reference.cli_page(), "Run `make reference`."


def test_the_committed_openapi_document_is_current(home) -> None:
    kernel = build_kernel(Settings(home=home))
    try:
        committed = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
        assert committed == reference.openapi(kernel), "Run `make reference`."
    finally:
        kernel.close()


def test_the_migrations_make_exactly_the_tables(database_url: str) -> None:
    database = Database(database_url)
    with database.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": False})
        differences = compare_metadata(context, db.metadata)
    database.close()
    assert differences == [], "Bring core/migrations/versions in line with the tables in the stores."


def test_importing_the_package_is_light() -> None:
    heavy = "{'torch', 'transformers', 'fastapi', 'sqlalchemy', 'httpx', 'pyarrow', 'pydantic', 'numpy'}"
    code = f"import sys, tidemill; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_command_line_loads_no_server_and_no_model_code() -> None:
    heavy = "{'torch', 'transformers', 'sklearn', 'scipy', 'dbos', 'granian', 'xllamacpp', 'polars', 'alembic'}"
    code = f"import sys, tidemill.cli; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_client_offers_every_feature(home) -> None:
    with Client(home=home) as client:
        for name in ("access", "blobs", "jobs", "prompts", "data", "models", "tuning", "evals", "releases",
                     "deployments", "gateway", "governance"):  # fmt: skip
            assert getattr(client, name).__doc__
