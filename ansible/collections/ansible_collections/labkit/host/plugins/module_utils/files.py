"""Files of our own: what was at their place before is kept."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from .state import Change, State, half_written, remove, roles, write_whole

KIND = "file"
FOLDER = "folder"
"""A folder that had to be made for a file of ours."""


def look(path: str, root: Path) -> dict[str, Any] | None:
    """Content and mode of a file, None where there is none. Raises ValueError for a folder or a link."""
    file = root / path.lstrip("/")
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise ValueError(f"{path} is not a plain file: left alone")
    if not file.exists():
        return None
    return {
        "content": base64.b64encode(file.read_bytes()).decode(),
        "mode": f"{file.stat().st_mode & 0o7777:04o}",
    }


def _kept(path: str, root: Path) -> dict[str, Any] | None:
    """What a revert restores of a file that was there: also whose it was. A file of ours is root's."""
    found = look(path, root)
    if found is None:
        return None
    seen = (root / path.lstrip("/")).stat()
    return {**found, "uid": seen.st_uid, "gid": seen.st_gid}


def change(
    role: str,
    path: str,
    content: str | None,
    *,
    mode: str = "0644",
    root: Path = Path("/"),
    check: bool = False,
) -> bool:
    """Make the file so, or (content None) absent. Returns whether that changes anything.

    Raises ValueError for a mode that lets everybody write.
    """
    if int(mode, 8) & 0o002:
        raise ValueError(f"{path}: mode {mode} lets everybody write; expected none that does, such as 0644")
    wanted = (
        None
        if content is None
        else {"content": base64.b64encode(content.encode()).decode(), "mode": f"{int(mode, 8):04o}"}
    )
    before = look(path, root)
    if before == wanted:
        return False
    if not check:
        state = State(role, root)
        for folder in _missing_folders(path, root):
            state.note(FOLDER, folder, None, None)
        known = state.noted(KIND, path)
        ours = known is not None and known.ours(before)
        state.note(KIND, path, _kept(path, root), wanted, earlier=before if ours else None)
        _make(path, wanted, root)
    return True


def make_folder(role: str, path: str, *, root: Path = Path("/")) -> None:
    """Make a folder that is not there, and those above it. Undo removes those that are empty then."""
    state = State(role, root)
    for folder in [*_missing_folders(path, root), path]:
        state.note(FOLDER, folder, None, None)
    (root / path.lstrip("/")).mkdir(parents=True, mode=0o755)


def _missing_folders(path: str, root: Path) -> list[str]:
    """Those above the file that are not there, outermost first."""
    above = [folder for folder in Path(path).parents if not (root / str(folder).lstrip("/")).exists()]
    return [str(folder) for folder in reversed(above)]


def _make(path: str, wanted: dict[str, Any] | None, root: Path) -> None:
    file = root / path.lstrip("/")
    if wanted is None:
        remove(file)
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    owner = (wanted["uid"], wanted["gid"]) if "uid" in wanted else None
    write_whole(file, base64.b64decode(wanted["content"]), mode=int(wanted["mode"], 8), owner=owner)


def restore(change: Change, root: Path) -> str | None:
    """Restore what was there, unless somebody else has changed the file since; None when done, else why not."""
    if reason := refusal(change, root):
        return reason
    if _there(change, root):
        half_written(root / change.target.lstrip("/")).unlink(missing_ok=True)  # by a run that was killed
    else:
        _make(change.target, change.old, root)
    return None


def refusal(change: Change, root: Path) -> str | None:
    """Why `restore` would leave it; None: it would not. Changes nothing."""
    if _ours(change, root) or _there(change, root):
        return None
    return f"{change.target} was changed since by somebody else: left as it is"


def _ours(change: Change, root: Path) -> bool:
    now = look(change.target, root)
    return now is None or change.ours(now)


def _there(change: Change, root: Path) -> bool:
    """Whether what is to be restored is there already."""
    if _kept(change.target, root) == change.old:
        return True
    return not _ours(change, root) and _alike(look(change.target, root), change.old)


def _alike(now: dict[str, Any] | None, old: dict[str, Any] | None) -> bool:
    """Whether it has the content and mode of before, put there by somebody else; whose it is then is theirs to say."""
    return bool(now and old) and all(old.get(key) == value for key, value in now.items())


def restore_folder(change: Change, root: Path) -> str | None:
    """Remove a folder that we made, unless there is something else in it by now.

    Where another role has something in it, it is that role's from now on, to be removed with the last of its things.
    """
    folder = root / change.target.lstrip("/")
    if not folder.exists():
        return None
    if not any(folder.iterdir()):
        folder.rmdir()
        return None
    states = [State(role, root) for role in roles(root)]
    if sum(one.noted(FOLDER, change.target) is not None for one in states) > 1:
        return None  # handed on already, by a revert that was killed before it could forget it
    for other in states:
        if other.noted(FOLDER, change.target) is None and any(
            one.target.startswith(f"{change.target}/") for one in other.changes()
        ):
            other.inherit(change)
            return None
    return "other files are in it by now"
