import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.jobs.kinds import until
from tidemill.jobs import wrapper
from tidemill.jobs.compute import ComputeInvalid, ComputeMissing, ComputeStatus, LocalCompute, Resources


@pytest.fixture
def compute(tmp_path: Path) -> LocalCompute:
    return LocalCompute(tmp_path / "compute")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def done(compute: LocalCompute, job_id: str) -> ComputeStatus:
    until(lambda: compute.status(job_id).ended)
    return compute.status(job_id)


@pytest.mark.parametrize(("code", "state"), [(0, "succeeded"), (3, "failed")])
def test_a_command_ends_with_its_code(compute: LocalCompute, tmp_path: Path, code: int, state: str) -> None:
    started = compute.submit("a", python(f"import sys; sys.exit({code})"), tmp_path)
    assert started.pid is not None
    ended = done(compute, "a")
    assert (ended.state, ended.exit_code) == (state, code)
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.started_at


def test_it_has_its_folder_its_environment_and_no_input(compute: LocalCompute, tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['A'], os.environ['OMP_NUM_THREADS'], sys.stdin.read())"
    compute.submit("a", python(code), tmp_path, {"A": "ü"}, Resources(threads=3))
    done(compute, "a")
    assert compute.logs("a").text == f"{tmp_path} ü 3 \n"


def test_logs_are_read_piece_by_piece_and_never_half_a_character(compute: LocalCompute, tmp_path: Path) -> None:
    text = "añ😀" * 50
    compute.submit("a", python(f"import sys; sys.stdout.buffer.write({text.encode()!r})"), tmp_path)
    done(compute, "a")
    pieces, offset = "", 0
    while (piece := compute.logs("a", offset, 5)).next_offset > offset:
        pieces, offset = pieces + piece.text, piece.next_offset
    assert pieces == text
    assert compute.logs("a", 10**9).text == ""


def test_a_second_submission_attaches_while_it_runs_and_after(compute: LocalCompute, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    command = python(f"open({str(ran)!r}, 'a').write('x'); import time; time.sleep(0.5)")
    first = compute.submit("a", command, tmp_path)
    assert compute.submit("a", command, tmp_path).pid == first.pid
    assert done(compute, "a").state == "succeeded"
    again = LocalCompute(compute.root).submit("a", command, tmp_path)
    assert (again.pid, again.state) == (first.pid, "succeeded")
    assert ran.read_text() == "x"


def test_many_submitters_at_once_start_it_once(compute: LocalCompute, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    command = python(f"open({str(ran)!r}, 'a').write('x'); import time; time.sleep(0.3)")
    threads = [threading.Thread(target=compute.submit, args=("a", command, tmp_path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done(compute, "a")
    assert ran.read_text() == "x"


def test_two_wrappers_of_one_job_run_it_once(compute: LocalCompute, tmp_path: Path) -> None:
    """As when the submitter was killed right after it started the wrapper."""
    ran = tmp_path / "ran"
    compute.submit("a", python(f"open({str(ran)!r}, 'a').write('x'); import time; time.sleep(0.3)"), tmp_path)
    second = [sys.executable, "-I", "-S", wrapper.__file__, str(compute.root / "a")]
    assert subprocess.run(second, check=False).returncode == 0
    done(compute, "a")
    assert ran.read_text() == "x"


def test_cancelling_ends_the_whole_group(compute: LocalCompute, tmp_path: Path) -> None:
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    compute.submit("a", python(code), tmp_path)
    until(lambda: compute.logs("a").text)
    grandchild = int(compute.logs("a").text)
    status = compute.cancel("a", grace=3600)  # which is not waited for when it ends by itself
    assert status.state == "cancelled"
    until(lambda: wrapper.process_stamp(grandchild) is None)
    assert compute.cancel("a").state == "cancelled"  # once more changes nothing


def test_what_ignores_the_request_is_killed_after_the_grace(compute: LocalCompute, tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
    )
    compute.submit("a", python(code), tmp_path)
    until(lambda: compute.logs("a").text)
    begun = time.monotonic()
    assert compute.cancel("a", grace=0.5).state == "cancelled"
    assert time.monotonic() - begun >= 0.5


def test_what_ends_in_order_on_request_is_cancelled_all_the_same(compute: LocalCompute, tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)))\n"
        "print('on', flush=True); time.sleep(600)"
    )
    compute.submit("a", python(code), tmp_path)
    until(lambda: compute.logs("a").text)
    status = compute.cancel("a")
    assert (status.state, status.exit_code) == ("cancelled", 0)
    assert compute.logs("a").text == "on\nsaved\n"


def test_no_zombie_is_left(compute: LocalCompute, tmp_path: Path) -> None:
    for number in range(3):
        compute.submit(f"a{number}", python("import time; time.sleep(600)"), tmp_path)
        compute.cancel(f"a{number}")
    until(lambda: not zombies())
    assert zombies() == []


def zombies() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


def test_a_killed_group_is_lost_and_can_be_started_again(compute: LocalCompute, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = (
        f"import os, time; path = {str(ran)!r}; open(path, 'a').write('x')\n"
        "time.sleep(600 if os.path.getsize(path) == 1 else 0)"
    )
    command = python(code)
    pid = compute.submit("a", command, tmp_path).pid
    assert pid is not None
    until(lambda: ran.exists() and ran.read_text())  # opened first, written a moment later
    os.killpg(pid, signal.SIGKILL)
    until(lambda: compute.status("a").state == "lost")
    assert compute.submit("a", command, tmp_path).state in ("running", "succeeded")
    assert done(compute, "a").state == "succeeded"
    assert ran.read_text() == "xx"


def test_a_killed_wrapper_takes_its_command_along(compute: LocalCompute, tmp_path: Path) -> None:
    pid = compute.submit("a", python("import os, time; print(os.getpid(), flush=True); time.sleep(600)"), tmp_path).pid
    assert pid is not None
    until(lambda: compute.logs("a").text)
    command = int(compute.logs("a").text)
    os.kill(pid, signal.SIGKILL)
    until(lambda: compute.status("a").state == "lost")
    until(lambda: wrapper.process_stamp(command) is None)


def test_a_process_number_given_out_anew_is_not_taken_for_the_old_one(compute: LocalCompute, tmp_path: Path) -> None:
    pid = compute.submit("a", python("import time; time.sleep(600)"), tmp_path).pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    until(lambda: compute.status("a").state == "lost")
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        process = compute.root / "a" / wrapper.PROCESS
        process.write_text(process.read_text().replace(f'"pid": {pid}', f'"pid": {other.pid}'))
        assert compute.status("a").state == "lost"
        assert other.poll() is None  # and it was not killed
    finally:
        other.kill()
        other.wait()


def test_it_survives_its_submitter_and_is_found_by_another_process(compute: LocalCompute, tmp_path: Path) -> None:
    go = tmp_path / "go"
    child = f"import os, sys, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nprint(42); sys.exit(5)"
    code = (
        "import sys, time; from pathlib import Path; from tidemill.jobs.compute import LocalCompute\n"
        f"c = LocalCompute(Path({str(compute.root)!r}))\n"
        f"s = c.submit('a', [sys.executable, '-c', {child!r}], Path({str(tmp_path)!r}))\n"
        "print(s.pid, flush=True); time.sleep(600)"
    )
    submitter = subprocess.Popen(python(code), stdout=subprocess.PIPE)
    assert submitter.stdout is not None
    pid = int(submitter.stdout.readline())
    submitter.kill()
    submitter.wait()
    submitter.stdout.close()
    status = compute.status("a")
    assert (status.state, status.pid) == ("running", pid)
    go.touch()
    status = done(compute, "a")
    assert (status.state, status.exit_code) == ("failed", 5)
    assert compute.logs("a").text == "42\n"


def test_memory_is_limited(compute: LocalCompute, tmp_path: Path) -> None:
    compute.submit("a", python("x = bytearray(400 * 2**20)"), tmp_path, None, Resources(memory_bytes=200 * 2**20))
    assert done(compute, "a").state == "failed"
    assert "MemoryError" in compute.logs("a").text


def test_a_command_that_does_not_exist_fails_with_a_reason(compute: LocalCompute, tmp_path: Path) -> None:
    compute.submit("a", ["no-such-program"], tmp_path)
    status = done(compute, "a")
    assert (status.state, status.exit_code) == ("failed", 127)
    assert "Cannot start 'no-such-program'" in compute.logs("a").text


def test_bad_submissions_are_refused_and_leave_nothing(compute: LocalCompute, tmp_path: Path) -> None:
    for job_id, argv, workdir in (
        ("../a", ["true"], tmp_path),
        ("a", [], tmp_path),
        ("a", ["true"], tmp_path / "missing"),
    ):
        with pytest.raises(ComputeInvalid):
            compute.submit(job_id, argv, workdir)
    assert not compute.root.exists()
    for ask in (compute.status, compute.logs, compute.cancel):
        with pytest.raises(ComputeMissing):
            ask("a")


def test_a_paused_one_stops_at_once_and_the_next_submission_starts_it_again(
    compute: LocalCompute, tmp_path: Path
) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    first = compute.submit("a", python(code), tmp_path)
    until(lambda: compute.logs("a").text != "")
    compute.pause("a")
    assert compute.status("a").state == "lost"
    assert first.pid is not None
    assert not psutil.pid_exists(first.pid) or psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
    again = compute.submit("a", python(code), tmp_path)
    assert again.state in ("queued", "running")
    until(lambda: len(compute.logs("a").text.split()) == 2)
    assert compute.cancel("a").state == "cancelled"
    compute.pause("a")
    assert compute.status("a").state == "cancelled"


def test_of_threads_that_write_one_note_at_once_one_wins_and_none_fails(tmp_path: Path) -> None:
    for number in range(50):
        path, ready = tmp_path / f"{number}.json", threading.Barrier(4)

        def write(path: Path = path, ready: threading.Barrier = ready) -> bool:
            ready.wait()
            return wrapper.write_once(path, {"by": threading.get_native_id()})

        with ThreadPoolExecutor(4) as pool:
            won = [written.result() for written in [pool.submit(write) for _ in range(4)]]
        assert won.count(True) == 1
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}, "nothing is left beside"
