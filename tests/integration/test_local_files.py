"""What the embedded PostgreSQL keeps on disk: a copy of its programs, the data of root, a port."""

import shutil
import tempfile
from pathlib import Path

import pytest

from strongroom.local import binaries, postgres
from strongroom.local.errors import LocalError
from strongroom.local.leftovers import clear_leftovers
from strongroom.local.ports import free_ports, port_is_free


@pytest.mark.needs("root")
class TestCopyOfThePrograms:
    def test_changed_or_half_copy_is_replaced(self, tmp_path: Path) -> None:
        program = binaries.install(tmp_path) / "postgres"
        whole = program.read_bytes()
        program.write_bytes(whole[: len(whole) // 2])
        assert (binaries.install(tmp_path) / "postgres").read_bytes() == whole

    def test_added_file_is_removed(self, tmp_path: Path) -> None:
        added = binaries.install(tmp_path) / "added"
        added.write_text("#!/bin/sh\n")
        binaries.install(tmp_path)
        assert not added.exists()

    def test_nobody_else_can_write_to_it(self, tmp_path: Path) -> None:
        copy = binaries.install(tmp_path).parents[2]
        for path in (copy, *copy.rglob("*")):
            assert path.lstat().st_uid == 0
            assert not path.lstat().st_mode & 0o022

    def test_changed_wheel_is_refused(self, tmp_path: Path) -> None:
        site = binaries.locate().parents[2]
        files = binaries._wanted(site)
        wrong = [binaries._File(files[0].path, "0" * 64), *files[1:]]
        with pytest.raises(LocalError, match="was changed since its install"):
            binaries._copy(site, wrong, tmp_path / "copy")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("root")
class TestHomeOfRoot:
    def test_deleted_home_begins_empty_and_old_data_is_put_aside(self, tmp_path: Path) -> None:
        base = Path(tempfile.mkdtemp(prefix="strongroom-test-"))
        base.chmod(0o711)
        try:
            first = postgres.prepare(base / "home", system_root=base / "system")
            shutil.rmtree(base / "home")
            old = (first.data_dir / "PG_VERSION").stat().st_ino
            second = postgres.prepare(base / "home", system_root=base / "system")
            assert second.data_dir == first.data_dir
            assert (second.data_dir / "PG_VERSION").stat().st_ino != old
            assert len(list(first.data_dir.parent.glob("put-aside-*"))) == 1
        finally:
            shutil.rmtree(base)

    def test_moved_home_is_refused(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        (home / "postgres").symlink_to(tmp_path / "system" / "0123456789ab" / "data")
        with pytest.raises(LocalError, match="belongs to another home"):
            postgres.prepare(home, system_root=tmp_path / "system")


def test_port_stays_clear_of_the_kernels_own_range(tmp_path: Path) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert free_ports() < lowest


async def test_nothing_runs_where_nothing_was_started(tmp_path: Path) -> None:
    cluster = postgres.Cluster(
        home=tmp_path,
        data_dir=tmp_path,
        bin_dir=tmp_path,
        hba_file=tmp_path,
        port=free_ports(),
        user="strongroom",
        password_file=tmp_path,
        run_as=None,
        tag="strongroom-none",
    )
    assert port_is_free(cluster.port)
    assert not await postgres.is_ready(cluster)
    assert await clear_leftovers(cluster) == 0
