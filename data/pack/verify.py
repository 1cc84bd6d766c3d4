"""Finding damage in a packed file without unpacking it."""

from __future__ import annotations

from pathlib import Path

from data.pack.layout import FRAMES
from data.pack.packed import Packed
from data.schema import episode_checksum
from envs.errors import RunError


def verify_pack(path: Path) -> tuple[str, list[str]]:
    """Read everything in a packed file against its checksums.

    Every block has one, and so has the manifest. Where observations are stored, each episode is put together and
    compared with its own. What levels and actions lead to is not rendered here: unpacking proves it.

    Returns:
        The kind of file (empty if it cannot be opened), and one line per problem.

    Raises:
        UsageError: If it is no packed file, or of another version.
    """
    try:
        packed = Packed(path)
    except RunError as error:
        return "", [str(error)]
    with packed:
        problems = []
        for array in packed.file.arrays.values():
            try:
                array.check()
            except RunError as error:
                problems.append(str(error))
        if packed.kind == FRAMES and not problems:
            problems = _episode_problems(packed)
        return packed.kind, problems


def _episode_problems(packed: Packed) -> list[str]:
    problems = []
    try:
        for index, episode in enumerate(packed.stored_episodes()):
            if not packed.matches(index, episode_checksum(episode)):
                problems.append(f"{packed.name_of(index)}: content does not match its checksum")
    except (RunError, ValueError, IndexError) as error:  # damaged offsets point anywhere
        problems.append(str(error))
    return problems
