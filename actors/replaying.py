"""Renders recorded episodes again, here or on Ray actors, and compares them with what was stored."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actors.render import Rendering, RenderTask, Scripts, long_first, render
from data.pack.patches import Patch, difference
from data.pack.write import sound_episode
from data.prefetch import Prefetcher
from data.store import Store, read_episode
from envs.errors import RunError, UsageError
from envs.registry import make_spec, make_vec
from envs.spec import EnvSpec

_LISTED = 20  # episodes that are described
_SLOT_BYTES = 5e8  # memory for running episodes, in each process; as much again waits to be used


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who renders."""

    num_actors: int = 0
    """Ray actors; 0 renders in this process."""
    num_envs: int = 32
    """Slots of each, fewer where episodes are long."""
    address: str | None = None
    """Ray cluster to join; None starts a local one."""
    num_processes: int = 1
    """Without actors, processes of this machine that unpack together, this one included. More than one start as
    `multiprocessing` starts them, so a script that calls must do so under ``if __name__ == "__main__"``."""

    def __post_init__(self) -> None:
        if self.num_processes < 1:
            raise UsageError(f"{self.num_processes} processes; this one is the first, so the least is 1.")
        if self.num_actors < 0 or self.num_envs < 1:
            raise UsageError(f"{self.num_actors} actors with {self.num_envs} slots; they start at 0 and at 1.")


def check_environment(env: EnvSpec) -> None:
    """Refuse an environment that is another one here.

    Raises:
        UsageError: If it is not registered, or shows other columns or takes other actions.
    """
    here = make_spec(env.name)
    if (here.observation_columns, here.num_actions) != (env.observation_columns, env.num_actions):
        raise UsageError(
            f"{env.name!r} has columns {sorted(here.observation_columns)} and {here.num_actions} actions here; the "
            f"data has {sorted(env.observation_columns)} and {env.num_actions}. Use the version that recorded it."
        )


def scripts_of(store: Store) -> Scripts:
    """The levels and actions of a dataset, in canonical order."""
    table = store.table
    starts = np.concatenate([[0], np.cumsum(table["length"])])
    firsts, lengths = table["first_step"].tolist(), table["length"].tolist()
    actions = [store.steps["actions"][first : first + length] for first, length in zip(firsts, lengths, strict=True)]
    narrow = np.uint8 if store.info.env.num_actions <= 256 else np.int32
    return Scripts(store.info.env.name, table["level"].copy(), starts, np.concatenate(actions).astype(narrow))


@contextlib.contextmanager
def renderings(scripts: Scripts, workers: Workers) -> Iterator[Iterator[Rendering]]:
    """Every script once, in the order in which they end; what is not drawn is abandoned at the end of the block.

    Without actors a second thread of this process renders, so that the caller can write meanwhile.
    """
    num_envs = num_slots(scripts, workers.num_envs)
    if workers.num_actors == 0:
        stopping = threading.Event()
        with contextlib.closing(make_vec(scripts.env, min(num_envs, len(scripts)))) as env:
            rendered = render(env, scripts, long_first(scripts, range(len(scripts))), stopping.is_set)
            # Slots that began together often end together, so the next round must not wait for this one's use.
            with Prefetcher(lambda _: next(rendered), 0, depth=num_envs) as ready:
                try:
                    yield ready
                finally:
                    stopping.set()
        return
    from actors.cluster import ray_session
    from actors.env_actor import new_task_key
    from actors.pool import ActorPool

    task = RenderTask(key=new_task_key(), scripts=scripts, num_envs=num_envs)
    jobs = [(level, index) for index, level in enumerate(scripts.levels.tolist())]
    with ray_session(workers.address), ActorPool(workers.num_actors) as pool:
        yield pool.play_renderings(task, jobs)


def num_slots(scripts: Scripts, wanted: int) -> int:
    """As many environments as wanted, fewer where running episodes would take too much memory."""
    columns = make_spec(scripts.env).observation_columns.values()
    row = sum(int(np.prod(column.shape)) * np.dtype(column.dtype).itemsize for column in columns if not column.ragged)
    longest = int(np.diff(scripts.starts).max())
    return max(1, min(wanted, int(_SLOT_BYTES // max(1, row * longest))))


@dataclass
class Comparison:
    """How much of a dataset an environment renders as it was recorded. Counts grow as episodes arrive."""

    num_episodes: int = 0
    num_same_episodes: int = 0
    num_rows: int = 0
    num_same_rows: int = 0
    num_other_ends: int = 0
    """Episodes that end earlier, later or for another reason than recorded."""
    different: list[dict[str, Any]] = field(default_factory=list)
    """The first few that differ, each with its first differing row."""

    def compare(self, store: Store, rendering: Rendering) -> Patch | None:
        """Compare one episode; returns what has to be kept of it."""
        record = store.table[rendering.index]
        episode = read_episode(store, record)
        patch = difference(
            rendering.index, episode.observations, rendering.observations, episode.rewards, rendering.rewards
        )
        ends_so = (rendering.terminated, rendering.truncated) == (episode.terminated, episode.truncated)
        same_end = ends_so and len(rendering.rewards) == len(episode)
        num_rows = len(episode) + int(episode.final_observation_known)
        self.num_episodes, self.num_rows = self.num_episodes + 1, self.num_rows + num_rows
        self.num_same_episodes += patch is None and same_end
        self.num_same_rows += num_rows - (patch.num_rows if patch else 0)
        self.num_other_ends += not same_end
        if (patch or not same_end) and len(self.different) < _LISTED:
            name = {"level": int(record["level"]), "episode": int(record["episode"]), "source": episode.source}
            rows = {"first_row": patch.first_row, "num_rows": patch.num_rows} if patch else {}
            self.different.append({**name, "length": len(episode), "length_here": len(rendering.rewards), **rows})
        if patch is not None:
            sound_episode(store, rendering.index)  # damage of the file is no difference of the environment
        return patch


def compare_all(
    store: Store, workers: Workers, advance: Callable[[int], None] | None = None
) -> Iterator[tuple[Comparison, Patch | None]]:
    """Render a dataset again and compare it, episode by episode, in the order in which they arrive.

    Yields:
        The running totals, and what differs in the episode that arrived.

    Raises:
        UsageError: If its environment is unknown or another one here.
        RunError: If the dataset is damaged.
    """
    check_environment(store.info.env)
    scripts, comparison, done = scripts_of(store), Comparison(), 0
    with renderings(scripts, workers) as arriving:
        for rendering in arriving:
            yield comparison, comparison.compare(store, rendering)
            done += int(scripts.starts[rendering.index + 1] - scripts.starts[rendering.index])
            if advance is not None:
                advance(done)
    if comparison.num_episodes != len(scripts):
        raise RunError(f"{comparison.num_episodes} of {len(scripts)} episodes arrived; this is an error in gengap.")
