"""Where a command writes to: a file of its owner's, whole or not at all, never over a device."""

import os
import stat
import threading
from pathlib import Path

import pytest

from strongroom.cli.export import opened_whole


def test_a_file_is_its_owners_and_there_once_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "told"
    with opened_whole(file) as out:
        out.write("x")
        assert not file.exists()
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("x", 0o600)
    assert [*tmp_path.iterdir()] == [file]


def test_what_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    (file := tmp_path / "told").write_text("before")

    def break_off() -> None:
        with opened_whole(file) as out:
            out.write("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert file.read_text() == "before"
    assert [*tmp_path.iterdir()] == [file]


def test_where_a_link_points_to_is_not_written(tmp_path: Path) -> None:
    (other := tmp_path / "other").write_text("mine")
    (file := tmp_path / "told").symlink_to(other)
    with opened_whole(file) as out:
        out.write("x")
    assert (other.read_text(), file.read_text(), file.is_symlink()) == ("mine", "x", False)


def test_a_pipe_or_a_device_stays_what_it_is(tmp_path: Path) -> None:
    """As /dev/null, which nothing on the machine could open any more."""
    os.mkfifo(pipe := tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with opened_whole(pipe) as out:
        out.write("x")
    reader.join(30)
    assert read == ["x"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
