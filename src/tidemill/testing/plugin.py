"""The pytest plugin: fixtures, cases from files, and the verdict "inconclusive" beside passed and failed.

Exit codes: 0 all passed, 1 something failed, 2 nothing failed and something was inconclusive. pytest's own 3, 4 and 5
(internal error, usage, no tests) stay as they are; a release that is not there, or not named, is wrong usage.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tidemill.client import Client
from tidemill.core.errors import TidemillError
from tidemill.core.parsing import parse_json
from tidemill.testing.tester import Inconclusive, ReleaseMissing, Tester

INCONCLUSIVE_EXIT = 2
PROPERTY = ("verdict", "inconclusive")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--tidemill-release`, which `tidemill test --release` sets."""
    group = parser.getgroup("tidemill")
    group.addoption("--tidemill-release", default=None, help="The release (name@3) or model (prod/name) under test.")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "cases(file): one test for each line of a JSON lines file, given as `case`.")


@pytest.fixture(scope="session")
def tidemill(request: pytest.FixtureRequest) -> Iterator[Tester]:
    """The release under test, on the server of TIDEMILL_URL and TIDEMILL_API_KEY or of the local home."""
    release = request.config.getoption("--tidemill-release")
    tester = Tester(lambda: Client(workers=True), release, _reporter(request.config))
    if release is not None:
        try:
            tester.release_id(release)
        except TidemillError as error:
            tester.close()
            pytest.exit(
                f"--release {release}: {error} {error.hint or ''}".rstrip(), returncode=pytest.ExitCode.USAGE_ERROR
            )
    yield tester
    tester.close()


def _reporter(config: pytest.Config) -> Callable[[str], None]:
    """Return a function that prints a line although pytest captures what tests print."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")

    def report(text: str) -> None:
        if terminal is None:
            return
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            terminal.ensure_newline()
            terminal.write_line(f"  {text}")

    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case of the file that the marker `cases` names."""
    marker = metafunc.definition.get_closest_marker("cases")
    if marker is None or "case" not in metafunc.fixturenames:
        return
    file = Path(str(metafunc.definition.path)).parent / str(marker.args[0])
    metafunc.parametrize("case", list(_cases(file)))


def _cases(file: Path) -> Iterator[Any]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            case = parse_json(line)
        except ValueError as error:
            raise pytest.UsageError(f"{file}:{number}: this is no JSON: {error}") from error
        name = case.get("id") if isinstance(case, dict) else None
        yield pytest.param(case, id=str(name or f"line{number}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn Inconclusive into a verdict of its own; in JUnit's XML it is a skipped test with the reason."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, ReleaseMissing):
        pytest.exit(str(call.excinfo.value), returncode=pytest.ExitCode.USAGE_ERROR)
    if call.excinfo is not None and isinstance(call.excinfo.value, Inconclusive):
        path, line = item.reportinfo()[:2]
        report.outcome = "skipped"
        report.longrepr = (str(path), (line or 0) + 1, f"inconclusive: {call.excinfo.value}")
        report.user_properties.append(PROPERTY)
        item.user_properties.append(PROPERTY)  # JUnit's XML takes them from the report of the teardown
    return report


def _is_inconclusive(report: pytest.TestReport) -> bool:
    return PROPERTY in getattr(report, "user_properties", [])


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Report an inconclusive test as `?`."""
    if _is_inconclusive(report) and report.when == "call":
        return "inconclusive", "?", ("INCONCLUSIVE", {"yellow": True})
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what could not be told, and why."""
    inconclusive = terminalreporter.stats.get("inconclusive", [])
    if inconclusive:
        terminalreporter.section("inconclusive", sep="-", yellow=True)
        for report in inconclusive:
            terminalreporter.line(f"{report.nodeid}: {report.longrepr[2].removeprefix('inconclusive: ')}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Exit 2 when nothing failed and something was inconclusive."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == pytest.ExitCode.OK and reporter is not None and reporter.stats.get("inconclusive"):
        session.exitstatus = INCONCLUSIVE_EXIT
