import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from tidemill.core.blobs import (
    BlobCollected,
    BlobCorrupt,
    BlobFileUnreadable,
    BlobHashInvalid,
    BlobMissing,
    Blobs,
    BlobTooLarge,
    BlobUrlInvalid,
    LocalBlobs,
    S3Blobs,
    open_blobs,
)
from tidemill.core.errors import StorageFull, Unavailable
from tidemill.core.settings import Settings

ABSENT = "sha256:" + "0" * 64


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 server of the tests' own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def bucket_for(endpoint: str, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture
def s3(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Blobs:
    name = bucket_for(s3_endpoint, f"b{time.time_ns()}", monkeypatch)
    settings = Settings(
        home=tmp_path,
        blob_url=f"s3://{name}/some/prefix",
        s3_endpoint=s3_endpoint,
        s3_access_key_id="test",
        s3_secret_access_key=SecretStr("test"),
    )
    store = open_blobs(settings)
    assert isinstance(store, S3Blobs)
    return store


@pytest.fixture
def local(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    """Both stores."""
    return request.getfixturevalue(request.param)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_what_is_put_can_be_read(blobs: Blobs, tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20)
    blob = blobs.put_bytes(content)
    assert (blob.hash, blob.size) == (digest_of(content), len(content))
    assert blobs.find(blob.hash) == blob
    assert blobs.exists(blob.hash)
    with blobs.open(blob.hash) as file:
        assert file.read() == content
    assert blobs.path(blob.hash).read_bytes() == content
    assert blobs.verify(blob.hash) == blob

    source = tmp_path / "source"
    source.write_bytes(content)
    assert blobs.put_file(source) == blob
    assert blobs.put_stream(content[i : i + 1000] for i in range(0, len(content), 1000)) == blob
    assert blobs.put_bytes(b"").size == 0


def test_what_is_missing_is_named(blobs: Blobs, tmp_path: Path) -> None:
    for ask in (blobs.open, blobs.path, blobs.verify):
        with pytest.raises(BlobMissing, match="no blob"):
            ask(ABSENT)
    assert blobs.find(ABSENT) is None
    assert not blobs.exists(ABSENT)
    assert not blobs.delete(ABSENT)
    with pytest.raises(BlobFileUnreadable, match="No such file"):
        blobs.put_file(tmp_path / "missing")


@pytest.mark.parametrize("bad", ["sha256:../../etc/passwd", "md5:abc", "", "sha256:" + "A" * 64])
def test_only_a_hash_can_name_a_blob(blobs: Blobs, bad: str) -> None:
    with pytest.raises(BlobHashInvalid):
        blobs.path(bad)


def test_a_blob_can_be_deleted(blobs: Blobs) -> None:
    blob = blobs.put_bytes(b"gone soon")
    assert blobs.delete(blob.hash)
    assert not blobs.exists(blob.hash)
    with pytest.raises(BlobMissing):
        blobs.path(blob.hash)


def test_content_over_the_limit_is_refused_and_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(BlobTooLarge, match="larger than 10 bytes"):
        blobs.put_stream([b"12345", b"67890", b"1"], limit=10)
    assert files(tmp_path) == []
    assert blobs.put_stream([b"12345", b"67890"], limit=10).size == 10


def test_an_upload_that_breaks_off_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError("the caller went away")

    with pytest.raises(ConnectionResetError):
        blobs.put_stream(broken())
    assert files(tmp_path) == []


def test_many_writers_of_one_content_do_no_harm(blobs: Blobs) -> None:
    content = os.urandom(2**20)
    results: list[object] = []

    def put() -> None:
        results.append(blobs.put_bytes(content))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert blobs.verify(digest_of(content)).size == 2**20


def test_a_blob_file_is_read_only_and_alone(local: LocalBlobs) -> None:
    blob = local.put_bytes(b"same")
    local.put_bytes(b"same")
    assert files(local.root) == [local.path(blob.hash)]
    assert local.path(blob.hash).stat().st_mode & 0o777 == 0o444


def test_damage_is_found_and_a_truncated_file_is_healed(local: LocalBlobs) -> None:
    blob = local.put_bytes(b"content")
    path = local.path(blob.hash)
    path.chmod(0o644)
    path.write_bytes(b"CONTENT")
    with pytest.raises(BlobCorrupt, match="was damaged"):
        local.verify(blob.hash)
    path.write_bytes(b"con")
    local.put_bytes(b"content")
    assert local.verify(blob.hash) == blob


def test_a_killed_writer_leaves_only_a_file_that_is_swept(local: LocalBlobs) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tidemill.core.blobs import LocalBlobs\n"
        f"w = LocalBlobs(Path({str(local.root)!r})).writer(); w.write(b'x' * 10**6); print('on', flush=True)\n"
        "time.sleep(600)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.kill()
    writer.wait()
    writer.stdout.close()
    assert len(files(local.root)) == 1
    assert not local.exists(digest_of(b"x" * 10**6))
    assert local.sweep() == 0  # it could still be at work
    assert local.sweep(older_than=-1) == 1
    assert files(local.root) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """On a real, tiny file system where that is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        blobs = LocalBlobs(disk / "blobs")
        small = blobs.put_bytes(b"fits")
        with pytest.raises(StorageFull, match="No space left") as caught:
            blobs.put_stream([os.urandom(2**18)] * 8)
        assert (caught.value.status, caught.value.code) == (507, "storage_full")
        assert files(disk) == [blobs.path(small.hash)]
        assert blobs.put_bytes(b"fits too").size == 8  # and it goes on
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_size_limit_is_like_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, signal; from pathlib import Path; from tidemill.core.blobs import LocalBlobs\n"
        "from tidemill.core.errors import StorageFull\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"blobs = LocalBlobs(Path({str(tmp_path)!r}))\n"
        "try: blobs.put_bytes(b'x' * 5000)\n"
        "except StorageFull as error: print(error.message)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert os.strerror(errno.EFBIG) in run.stdout
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file, not a folder")
    with pytest.raises(Unavailable, match="Cannot write a blob"):
        LocalBlobs(tmp_path / "blobs").put_bytes(b"x")


def test_s3_keeps_the_prefix_and_is_read_through_a_cache(s3: S3Blobs) -> None:
    blob = s3.put_bytes(b"remote")
    name = blob.hash.removeprefix("sha256:")
    [[stored]] = list(obstore.list(s3.bucket))
    assert stored["path"] == f"some/prefix/{name[:2]}/{name}"

    s3.cache.delete(blob.hash)  # as on another machine
    assert s3.path(blob.hash).read_bytes() == b"remote"
    obstore.delete(s3.bucket, s3.key(blob.hash))
    assert s3.path(blob.hash).read_bytes() == b"remote"  # cached
    assert not s3.exists(blob.hash)  # but the bucket decides what exists
    s3.put_bytes(b"remote")
    assert s3.exists(blob.hash)


def test_s3_takes_a_large_blob_in_parts(s3: S3Blobs) -> None:
    content = os.urandom(20 * 2**20)
    blob = s3.put_stream(content[i : i + 2**20] for i in range(0, len(content), 2**20))
    s3.cache.delete(blob.hash)
    assert s3.verify(blob.hash).size == len(content)


def test_s3_content_that_was_exchanged_is_refused(s3: S3Blobs) -> None:
    blob = s3.put_bytes(b"right")
    s3.cache.delete(blob.hash)
    obstore.put(s3.bucket, s3.key(blob.hash), b"wrong")
    with pytest.raises(BlobCorrupt, match="other content"):
        s3.path(blob.hash)
    assert files(s3.cache.root) == []


def test_an_unreachable_object_store_is_an_error(tmp_path: Path) -> None:
    nowhere = S3Blobs(
        "bucket",
        "",
        tmp_path,
        endpoint="http://127.0.0.1:1",
        access_key_id="a",
        retries=0,
        secret_access_key=SecretStr("b"),
    )
    with pytest.raises(Unavailable, match="does not answer as it should"):
        nowhere.put_bytes(b"x")


def test_the_setting_chooses_the_store(tmp_path: Path) -> None:
    store = open_blobs(Settings(home=tmp_path))
    assert isinstance(store, LocalBlobs)
    assert store.root == tmp_path / "blobs"
    with pytest.raises(BlobUrlInvalid):
        open_blobs(Settings(home=tmp_path, blob_url="ftp://somewhere"))


def test_every_blob_is_listed_with_its_size_and_the_time_it_was_put(blobs: Blobs) -> None:
    before = time.time() - 2  # S3 counts in seconds
    stored = {blobs.put_bytes(content).hash: len(content) for content in (b"one", b"three", b"")}
    listed = list(blobs.list())
    assert {blob.hash: blob.size for blob in listed} == stored
    assert all(before <= blob.put_at <= time.time() + 2 for blob in listed)


def test_what_was_put_before_a_moment_is_collected_and_what_was_put_since_stays(blobs: Blobs) -> None:
    blob = blobs.put_bytes(b"content")
    assert not blobs.collect(blob.hash, time.time() - 60)
    assert blobs.exists(blob.hash)
    assert blobs.collect(blob.hash, time.time() + 60)
    assert not blobs.exists(blob.hash)
    assert not blobs.collect(blob.hash, time.time() + 60)
    assert blobs.claim(blob.hash) is None


@pytest.mark.parametrize("how", ["put again", "claimed"])
def test_what_is_put_again_or_claimed_counts_as_put_now(
    blobs: Blobs, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.core.blobs.s3.FRESH_S", 0.0)
    blob = blobs.put_bytes(b"content")
    time.sleep(2.1)
    moment = time.time() - 1.0
    assert (blobs.put_bytes(b"content") if how == "put again" else blobs.claim(blob.hash)) == blob
    assert not blobs.collect(blob.hash, moment)
    with blobs.open(blob.hash) as file:
        assert file.read() == b"content"


def test_a_put_beside_a_collector_is_never_lost(local: LocalBlobs) -> None:
    """Of an old blob that is collected and put at once, whoever is told that it is stored finds it."""
    for number in range(200):
        content = str(number).encode()
        os.utime(local.path(local.put_bytes(content).hash), (0, 0))
        start = threading.Barrier(2)

        def collect(content: bytes = content, start: threading.Barrier = start) -> None:
            start.wait()
            local.collect(digest_of(content), time.time() - 3600)

        collector = threading.Thread(target=collect)
        collector.start()
        start.wait()
        blob = local.put_bytes(content)
        collector.join()
        assert local.exists(blob.hash)
    assert list(local.incoming.iterdir()) == []


def test_a_blob_that_was_removed_is_said_to_be(blobs: Blobs) -> None:
    blobs.explain = lambda digest: BlobCollected(f"{digest} was removed.")
    with pytest.raises(BlobCollected, match="was removed"):
        blobs.path(ABSENT)
