import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from orbistem.durable import (
    DirectoryLock,
    atomic_write_bytes,
    atomic_write_text,
    disk_error,
    recover,
    sha256_file,
    sha256_tree,
    swap_directory,
    write_aside,
)
from orbistem.errors import OutputError

NAMES = ["run", "a run with spaces", "Ergebnis-é-Ω-結果"]


def _folder(path, word):
    (path / "model").mkdir(parents=True)
    (path / "maps.nc").write_text(word, encoding="utf-8")
    (path / "model" / "weights").write_text(word, encoding="utf-8")
    return path


def _word(path):
    words = {(path / part).read_text(encoding="utf-8") for part in ("maps.nc", "model/weights")}
    assert len(words) == 1, "a mixture of two runs"
    return words.pop()


# What a killed process leaves behind


KILLED = 137


def _killed_at(point, code, *arguments):
    """Run `code` in a process of its own that ends at `point` without any clean-up, as by kill -9."""
    prelude = f"""
        import os, signal, sys
        from pathlib import Path
        from orbistem import durable

        def on_step(name):
            if name == {point!r}:
                if hasattr(signal, "SIGKILL"):
                    os.kill(os.getpid(), signal.SIGKILL)
                os._exit({KILLED})
        """
    script = textwrap.dedent(prelude) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], check=False, capture_output=True, text=True
    )
    assert done.returncode in (-9, KILLED), done.stderr


SWAP = "durable.swap_directory(Path(sys.argv[1]), Path(sys.argv[2]), on_step=on_step)"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("point", "found", "recovered"),
    [
        ("synced", "old", "old"),
        ("note written", "old", "new"),
        ("noted", "old", "new"),
        ("old aside", None, "new"),
        ("new in place", "new", "new"),
        ("old removed", "new", "new"),
    ],
)
def test_killed_while_replacing(tmp_path, name, point, found, recovered):
    new, final = _folder(tmp_path / f"{name}.partial", "new"), _folder(tmp_path / name, "old")
    _killed_at(point, SWAP, new, final)
    assert (_word(final) if final.exists() else None) == found
    recover(final)
    assert _word(final) == recovered
    left = {final.name} if recovered == "new" else {final.name, new.name}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert recover(final) is False


@pytest.mark.parametrize(("point", "found"), [("synced", None), ("new in place", "new")])
def test_killed_while_putting_in_an_empty_place(tmp_path, point, found):
    new, final = _folder(tmp_path / "run.partial", "new"), tmp_path / "run"
    _killed_at(point, SWAP, new, final)
    recover(final)
    assert (_word(final) if final.exists() else None) == found
    assert {path.name for path in tmp_path.iterdir()} == {"run.partial" if found is None else "run"}


@pytest.mark.parametrize(("point", "found"), [("written", "old"), ("synced", "old"), ("renamed", "new")])
def test_killed_while_writing_a_file(tmp_path, point, found):
    final = tmp_path / "run.json"
    final.write_text("old")
    code = """
        with durable.write_aside(Path(sys.argv[1]), on_step=on_step) as aside:
            aside.write_text("new")
    """
    _killed_at(point, code, final)
    assert final.read_text() == found
    atomic_write_text(final, "next")
    assert final.read_text() == "next"


def test_killed_at_any_moment(tmp_path, rng):
    """No hook: a process swaps two runs for ever and is killed after a random time."""
    code = """
        import itertools, sys
        from pathlib import Path
        from orbistem.durable import recover, swap_directory
        final, new = Path(sys.argv[1]), Path(sys.argv[2])
        recover(final)
        print("ready", flush=True)
        for word in itertools.cycle(["a", "b"]):
            new.mkdir(exist_ok=True)
            (new / "model").mkdir(exist_ok=True)
            for part in ("maps.nc", "model/weights"):
                (new / part).write_text(word)
            swap_directory(new, final)
    """
    final, new = _folder(tmp_path / "run", "a"), tmp_path / "run.partial"
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(final), str(new)], stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout.readline().strip() == b"ready"
            time.sleep(rng.uniform(0.0, 0.1))
            process.kill()
        recover(final)
        assert _word(final) in "ab"
        assert {path.name for path in tmp_path.iterdir()} <= {"run", "run.partial"}


def test_the_old_one_comes_back_where_the_new_one_is_gone(tmp_path):
    _folder(tmp_path / "run.old", "old")
    (tmp_path / "run.swap").write_text('{"new": "run.partial"}')
    assert recover(tmp_path / "run") is True
    assert _word(tmp_path / "run") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_folders_of_others_are_left_alone(tmp_path):
    backup = _folder(tmp_path / "run.old", "precious")
    final = _folder(tmp_path / "run", "old")
    assert recover(final) is False
    with pytest.raises(OutputError, match=r"run\.old is in the way"):
        swap_directory(_folder(tmp_path / "run.partial", "new"), final)
    assert (_word(backup), _word(final)) == ("precious", "old")


def test_a_half_written_note_means_that_nothing_was_moved(tmp_path):
    final = _folder(tmp_path / "run", "old")
    (tmp_path / "run.swap").write_text("{")
    assert recover(final) is True
    assert _word(final) == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_damaged_note_after_a_move_is_said(tmp_path):
    _folder(tmp_path / "run.old", "old")
    (tmp_path / "run.swap").write_text("{")
    with pytest.raises(OutputError, match=r"run\.swap is damaged; rename"):
        recover(tmp_path / "run")
    assert _word(tmp_path / "run.old") == "old"


def test_swap_wants_siblings(tmp_path):
    with pytest.raises(OutputError, match="beside"):
        swap_directory(_folder(tmp_path / "elsewhere" / "run.partial", "new"), tmp_path / "run")


# Files


@pytest.mark.parametrize("name", ["maps.nc", "Ω scan.truth.nc", "x" * 200 + ".json"])
def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path, name):
    final = tmp_path / name
    atomic_write_bytes(final, b"old")
    seen = []

    def fail():
        with write_aside(final) as aside:
            seen.append(aside)
            aside.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert seen[0].suffix == final.suffix
    assert seen[0].parent == final.parent
    assert final.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_folder_may_be_written_aside(tmp_path):
    for word in ("old", "new"):
        with write_aside(tmp_path / "c.zarr") as aside:
            _folder(aside, word)
        assert _word(tmp_path / "c.zarr") == word
    assert [path.name for path in tmp_path.iterdir()] == ["c.zarr"]


def test_text_is_utf8_with_line_feeds(tmp_path):
    atomic_write_text(tmp_path / "config.toml", "α = 1\nβ = 2\n")
    assert (tmp_path / "config.toml").read_bytes() == "α = 1\nβ = 2\n".encode()


def test_a_link_is_followed(tmp_path):
    target = tmp_path / "target.json"
    target.write_text("old")
    link = tmp_path / "link.json"
    try:
        link.symlink_to(target)
    except OSError:  # Windows without the right to make links: nothing to follow
        return
    atomic_write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "disk full"),
        (
            OSError("Can't write data (file write failed: errno = 28, error message = 'No space')"),
            "disk full",
        ),
        (
            RuntimeError("Can't close dataset (file write failed: errno = 28, error message = 'No')"),
            "disk full",
        ),
        (PermissionError(13, "Permission denied"), "no permission"),
        (FileNotFoundError(2, "No such file"), "make it first"),
        (OSError(5, "Input/output error"), "choose another place"),
    ],
)
def test_the_systems_errors_become_sentences(tmp_path, error, words):
    def write():
        with write_aside(tmp_path / "maps.nc") as aside:
            aside.write_bytes(b"half")
            raise error

    with pytest.raises(OutputError, match=words):
        write()
    assert list(tmp_path.iterdir()) == []
    if isinstance(error, OSError):
        assert "maps.nc" in str(disk_error(error, tmp_path / "maps.nc"))


def test_an_error_about_another_file_stays_what_it_is(tmp_path):
    def convert():
        with write_aside(tmp_path / "out.hspy") as aside:
            aside.write_bytes((tmp_path / "in" / "missing.hspy").read_bytes())

    with pytest.raises(FileNotFoundError, match=r"missing\.hspy"):
        convert()


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(OutputError, match="a folder on the way is missing"):
        atomic_write_text(tmp_path / "absent" / "run.json", "{}")


def test_checksums(tmp_path):
    _folder(tmp_path / "run", "word")
    digest = hashlib.sha256(b"word").hexdigest()
    assert sha256_file(tmp_path / "run" / "maps.nc") == digest
    assert sha256_tree(tmp_path / "run") == {"maps.nc": digest, "model/weights": digest}


# Locks


def test_a_second_run_is_refused_while_the_first_lives(tmp_path):
    folder = tmp_path / "run.partial"
    with DirectoryLock(folder), pytest.raises(OutputError, match=f"in use by process {os.getpid()}"):
        DirectoryLock(folder).acquire()
    with DirectoryLock(folder):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    folder = tmp_path / "run.partial"
    code = "durable.DirectoryLock(Path(sys.argv[1])).acquire(); on_step('held')"
    _killed_at("held", code, folder)
    assert (tmp_path / "run.partial.lock").exists()
    with DirectoryLock(folder):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_number_given_to_another_process_is_no_owner(tmp_path):
    lock = tmp_path / "run.lock"
    with DirectoryLock(tmp_path / "run"):
        held = lock.read_text()
    lock.write_text(held.replace('"born": ', '"born": 1'))
    with DirectoryLock(tmp_path / "run"):
        pass


def test_another_computers_lock_is_respected(tmp_path):
    (tmp_path / "run.lock").write_text('{"pid": 1, "host": "another", "born": 0.0, "token": "x"}')
    with pytest.raises(OutputError, match=r"computer another; .* remove"):
        DirectoryLock(tmp_path / "run").acquire()


def test_a_lock_without_content_is_respected_while_young(tmp_path):
    lock = tmp_path / "run.lock"
    lock.touch()
    with pytest.raises(OutputError, match="in use by another program"):
        DirectoryLock(tmp_path / "run").acquire()
    long_ago = time.time() - 3600
    os.utime(lock, (long_ago, long_ago))
    with DirectoryLock(tmp_path / "run"):
        pass


def test_one_of_many_gets_a_stale_lock(tmp_path):
    lock = tmp_path / "run.lock"
    lock.write_text('{"pid": -1, "host": "", "born": 0.0, "token": "x"}'.replace('"host": ""', _own_host()))
    start, winners = threading.Barrier(8), []

    def compete():
        start.wait()
        mine = DirectoryLock(tmp_path / "run")
        try:
            mine.acquire()
        except OutputError:
            return
        winners.append(mine)

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    winners[0].release()
    assert list(tmp_path.iterdir()) == []


def _own_host():
    import json
    import platform

    return f'"host": {json.dumps(platform.node())}'


@pytest.mark.parametrize("age_days", [0.5, 2])
def test_what_a_killed_writer_left_behind_is_removed_after_a_day(tmp_path, age_days):
    gone = 4_000_000  # more than any process number
    old = tmp_path / f".maps.{gone}-0123abcd.partial.nc"
    mine = tmp_path / f".maps.{os.getpid()}-0123abcd.partial.nc"
    other = tmp_path / f".other.{gone}-0123abcd.partial.nc"
    for path in (old, mine, other):
        path.write_text("half")
        os.utime(path, (time.time() - age_days * 86400,) * 2)
    atomic_write_text(tmp_path / "maps.nc", "whole")
    assert old.exists() == (age_days < 1)
    assert mine.exists()
    assert other.exists()
    assert (tmp_path / "maps.nc").read_text() == "whole"


def test_the_folder_that_one_is_in_has_a_name(tmp_path, monkeypatch):
    from orbistem.durable import recover

    monkeypatch.chdir(tmp_path)
    assert not recover(Path("."))
    assert not recover(Path(tmp_path.anchor))


@pytest.mark.parametrize(
    "text", ["my own notes", '{"new": "../elsewhere"}', '{"new": ".."}', '{"new": 5}', "[]"]
)
def test_a_note_of_somebody_else_stays(tmp_path, text):
    """Looking for a file that is not there must not remove its neighbour NAME.swap."""
    note = tmp_path / "run.swap"
    note.write_text(text)
    assert recover(tmp_path / "run") is False
    assert note.read_text() == text
    final = _folder(tmp_path / "run", "old")
    with pytest.raises(OutputError, match=r"run\.swap is in the way"):
        swap_directory(_folder(tmp_path / "run.partial", "new"), final)
    assert (_word(final), note.read_text()) == ("old", text)


def test_names_that_cannot_be_have_nothing_to_recover(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.swap").mkdir()
    for name in ("a" * 300, "file/x", "folder"):
        assert recover(tmp_path / name) is False
