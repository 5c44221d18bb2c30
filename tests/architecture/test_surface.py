"""What the outside sees: routes, errors, settings, the schema and a light import."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from fastapi.routing import APIRoute

from tests.architecture.source import ROOT
from tidemill.cli import COMMANDS
from tidemill.client import Client
from tidemill.core import db
from tidemill.core.actors import ROLES
from tidemill.core.commands import load
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
    assert page == reference.render_settings(), "Run `make reference`."


def test_the_command_page_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == reference.render_commands(), "Run `make reference`."


def test_the_committed_openapi_document_is_current(home) -> None:
    kernel = build_kernel(Settings(home=home))
    try:
        committed = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
        assert committed == reference.build_openapi(kernel), "Run `make reference`."
    finally:
        kernel.close()


def test_migration_files_are_named_after_their_revisions() -> None:
    script = ScriptDirectory.from_config(db.migration_config(""))
    chain = [revision.revision for revision in script.walk_revisions()][::-1]
    assert db.revisions() == chain, "The server compares the names of the files, without loading alembic."
    assert script.get_heads() == [chain[-1]]


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


HEAVY = {
    *("torch", "transformers", "sklearn", "scipy", "numpy", "pyarrow", "polars", "sqlalchemy", "alembic", "dbos"),
    *("fastapi", "starlette", "granian", "aiohttp", "xllamacpp", "onnxruntime", "cryptography", "apsw", "psycopg"),
    *("pydantic_settings", "dotenv", "pygments", "logfire", "sacrebleu", "rouge_score", "tokenizers", "gguf"),
}
"""Packages that a command never needs before it talks to a server."""


def _loaded_by(*words: str, env: Mapping[str, str] | None = None) -> set[str]:
    """The packages that a command has loaded when it ends."""
    code = (
        "import atexit, sys; from tidemill.cli import main\n"
        "def tell(): sys.stderr.write('\\n' + ' '.join({n.split('.')[0] for n, m in sys.modules.items() if m}))\n"
        f"atexit.register(tell); sys.argv = ['tidemill', *{list(words)!r}]; main()"
    )
    kept = {k: v for k, v in os.environ.items() if k != "PYDANTIC_DISABLE_PLUGINS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **(env or {})})
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_version_and_help_load_nearly_nothing() -> None:
    more = {"pydantic", "httpx", "asyncio", "yaml"}
    assert not _loaded_by("--version") & (HEAVY | more | {"rich"})
    # Typer draws its help with rich, which brings pygments.
    assert not _loaded_by("--help") & (HEAVY - {"pygments"} | more)


@pytest.mark.parametrize("words", ["prompts list", "models list", "traces list", "releases list", "runs list"])
def test_a_command_loads_no_server_and_no_model_code(words: str) -> None:
    page = b'{"items": [], "next_cursor": null}'

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_args: object) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        loaded = _loaded_by(*words.split(), env={"TIDEMILL_URL": f"http://127.0.0.1:{server.server_port}"})
        server.shutdown()
    assert not loaded & HEAVY, "Load it where it is used, not at the top of a module that commands need."
    assert {"httpx", "rich"} <= loaded


def test_the_server_loads_heavy_packages_where_they_are_used(home: Path) -> None:
    lazy = {
        *("torch", "transformers", "sklearn", "scipy", "pyarrow", "polars", "alembic", "dbos", "onnx", "onnxruntime"),
        *("xllamacpp", "sacrebleu", "rouge_score", "tokenizers", "gguf", "psycopg", "obstore", "genai_prices", "ftfy"),
        *("pygments", "py3langid", "jsonschema_rs", "jinja2", "rensa", "aiohttp"),
    }
    code = (
        "import sys; sys.modules['httpx._main'] = None\n"
        "from tidemill.core.settings import Settings; from tidemill.server import process\n"
        "from tidemill.jobs.service import JobQueue; kernel = process.build(Settings()).kernel\n"
        "kernel.get(JobQueue).start(kernel); kernel.get(JobQueue).stop(); kernel.close()\n"
        f"print(*({lazy!r} & set(sys.modules)))"
    )
    build_kernel(Settings(home=home)).close()  # the schema is up to date
    env = {**os.environ, "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.split() == [], "Import it in the function that uses it; pyproject.toml lists such packages."


def test_the_table_of_commands_says_what_each_says_of_itself() -> None:
    wrong = {}
    for name, entry in COMMANDS.items():
        own = " ".join((load(name.rsplit(" ", 1)[-1], entry).help or "").split("\n\n")[0].split())
        if own != entry.help:
            wrong[name] = own
    assert not wrong, "Bring the help lines in cli.py in line with the commands."


def test_the_client_offers_every_feature(home) -> None:
    with Client(home=home) as client:
        for name in ("access", "blobs", "jobs", "prompts", "data", "models", "tuning", "evals", "releases",
                     "deployments", "gateway", "governance", "storage"):  # fmt: skip
            assert getattr(client, name).__doc__
