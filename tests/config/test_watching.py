"""Edits of files, as editors make them: noticed once each, whatever else happens in the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from watcher.user_files import change_since, stamps

PATIENCE = 60


def _write(path: Path) -> None:
    path.write_text("new")


def _replace(path: Path) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text("a new one")
    draft.replace(path)


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("edit", [_write, _replace, _remove])
async def test_every_way_of_saving_is_noticed(tmp_path: Path, edit: Callable[[Path], None]) -> None:
    """In place, by renaming, and the end of the file; before we look as well as while we do."""
    path = tmp_path / "skaffold.yaml"
    path.write_text("old")
    before = stamps([path])
    edit(path)
    with trio.fail_after(PATIENCE):
        await change_since(before)
    path.write_text("once more")
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_since, stamps([path]))
            await trio.lowlevel.checkpoint()
            edit(path)


async def test_what_a_link_leads_to_is_noticed(tmp_path: Path) -> None:
    """An edit where the file really is, and another file behind the link."""
    (tmp_path / "there").mkdir()
    real, other, link = tmp_path / "there" / "real.yaml", tmp_path / "there" / "other.yaml", tmp_path / "skaffold.yaml"
    real.write_text("old")
    other.write_text("another one")
    link.symlink_to(real)

    def relink(path: Path) -> None:
        path.unlink()
        path.symlink_to(other)

    for edit, path in ((_write, real), (relink, link)):
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(change_since, stamps([link]))
                await trio.lowlevel.checkpoint()
                edit(path)


async def test_a_file_that_comes_later_is_noticed(tmp_path: Path) -> None:
    """portside.yaml may be written while portside runs; its neighbours are nothing to us."""
    noticed = trio.Event()

    async def look() -> None:
        await change_since(before)
        noticed.set()

    before = stamps([tmp_path / "portside.yaml"])
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            (tmp_path / "other.yaml").write_text("x")
            with trio.move_on_after(1):  # more than a burst of changes takes
                await noticed.wait()
            assert not noticed.is_set()
            (tmp_path / "portside.yaml").write_text("apiVersion: portside/v1")


async def test_cancelling_takes_a_moment(tmp_path: Path) -> None:
    """Long before the system has anything to say."""
    with trio.fail_after(PATIENCE), trio.move_on_after(0.1) as scope:
        await change_since(stamps([tmp_path / "portside.yaml"]))
    assert scope.cancelled_caught
