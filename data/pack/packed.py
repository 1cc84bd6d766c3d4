"""An opened packed dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from data.episode import Column, Episode
from data.pack.blocks import Array
from data.pack.layout import ACTIONS, CHECK_BYTES, FORMAT, FRAMES, ColumnsReader, find, read_metrics, read_table
from data.pack.patches import Patch, PatchReader, repaired
from data.pack.reading import BlockFile
from data.schema import check_columns
from envs.errors import UsageError
from envs.spec import EnvSpec

_RAGGED_ROW_BYTES = 16  # the least that a row of text takes unpacked, with its offset


class Packed:
    """What a file of `data.pack.write` holds.

    Attributes:
        path: The file.
        kind: ``"actions"`` or ``"frames"``.
        env: The environment of every episode.
        fingerprint: Of the dataset that was packed.
        table: Numbers, flags and checks of the episodes, each [E], in canonical order.
        starts: [E + 1] first transition of each episode.

    Raises:
        UsageError: If it is no such file, or of another version.
        RunError: If it is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.file = BlockFile(self.path)
        try:
            self._read_header(self.file.header)
            self._read_arrays()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self.close()
            if isinstance(error, UsageError):
                raise self.file.damaged(f"describes what cannot be: {error}") from error
            raise self.file.damaged(f"has a header that lacks or misstates {error}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Packed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Packed({str(self.path)!r}, {self.kind}, {self.num_episodes} episodes, {self.num_transitions} transitions)"
        )

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _read_header(self, header: Mapping[str, Any]) -> None:
        if header["format"] != FORMAT or header["kind"] not in (ACTIONS, FRAMES):
            raise self.file.damaged(f"holds {header['format']!r} of kind {header['kind']!r}")
        self.kind: str = header["kind"]
        self.env = EnvSpec.from_json(header["env"])
        check_columns(self.env)
        self.provenance, self.license = dict(header["provenance"]), str(header["license"])
        self.fingerprint, self.created = str(header["fingerprint"]), str(header["created"])
        self.sources = tuple(str(name) for name in header["sources"])
        self.policies = tuple(str(name) for name in header["policies"])
        self.num_episodes, self.num_transitions = int(header["num_episodes"]), int(header["num_transitions"])
        self.checked = bool(header["checked"])
        """Whether every episode was rendered again, compared and patched when it was packed."""
        self.rounded_from: str | None = header["rounded_from"]
        """Fingerprint of the dataset whose log-probabilities were rounded to make this one; None: nothing was."""

    def _read_arrays(self) -> None:
        self.table = read_table(self.file, self.num_episodes)
        self._check_table()
        self._metrics = read_metrics(self.file, self.file.header["metrics"], self.num_episodes)
        self.starts: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(self.table["length"])])  # [E + 1]
        if self.num_episodes < 1 or self.starts[-1] != self.num_transitions:
            raise self.file.damaged("disagrees with itself about the number of episodes or transitions")
        self.row_starts = self.starts + np.concatenate([[0], np.cumsum(self.table["final_observation_known"])])
        self._actions = find(self.file, "actions", self.num_transitions, kinds="iu")
        self._logp = find(self.file, "behavior_logp", self.num_transitions, kinds="f")
        self._log_probs = None
        if "behavior_log_probs" in self.file.arrays:
            shape = (self.env.num_actions,)
            self._log_probs = find(self.file, "behavior_log_probs", self.num_transitions, kinds="f", shape=shape)
        if self.kind == FRAMES:
            self._rewards = find(self.file, "rewards", self.num_transitions, kinds="f")
            rows = int(self.row_starts[-1])
            self._columns = ColumnsReader(self.file, self.env.observation_columns, "observation.", rows)
        else:
            self.patches = PatchReader(self.file, self.env)

    def _check_table(self) -> None:
        table = self.table
        limits = {"source": len(self.sources), "policy": len(self.policies), "level": self.env.level_universe}
        wrong = [name for name, limit in limits.items() if (table[name] < 0).any() or (table[name] >= limit).any()]
        if wrong or (table["length"] < 1).any() or table["length"].sum(dtype=np.float64) > 2**62:
            raise self.file.damaged(f"has an episode with an impossible {wrong[0] if wrong else 'length'}")

    @property
    def unpacked_bytes(self) -> int:
        """About how large the dataset will be; texts are counted as if they were next to nothing."""
        size = 0
        for column in self.env.observation_columns.values():
            entries = 1
            for length in column.shape:
                entries *= length
            size += _RAGGED_ROW_BYTES if column.ragged else entries * np.dtype(column.dtype).itemsize
        log_probs = 2 * self.env.num_actions if self._log_probs is not None else 0
        return int(self.row_starts[-1]) * size + self.num_transitions * (12 + log_probs)

    @property
    def with_log_probs(self) -> bool:
        """Whether whole distributions of the behavior policies are among the columns."""
        return self._log_probs is not None

    def entry(self, index: int, checksum: bytes, episode_return: float) -> dict[str, Any]:
        """What `EpisodeTable.load` takes of an episode whose content is known elsewhere."""
        row = {name: values[index].item() for name, values in self.table.items() if name != "check"}
        return {
            **row,
            "return": episode_return,
            "source": self.sources[row["source"]],
            "policy": self.policies[row["policy"]],
            "checksum": checksum.hex(),
            "metrics": self._metrics_of(index),
        }

    def actions(self) -> Array:
        """[N] actions of all episodes, in the narrow type in which they are stored."""
        return self._actions.read()

    def num_rows(self, index: int) -> int:
        """Observation rows of an episode."""
        return int(self.row_starts[index + 1] - self.row_starts[index])

    def episode(self, index: int, observations: Mapping[str, Column], rewards: Array) -> Episode:
        """An episode whose frames and rewards were rendered, its patch applied; of kind ``"actions"`` only.

        Args:
            index: Which.
            observations: As many rows as the environment showed.
            rewards: One for each step that was played.

        Raises:
            RunError: If its patch is damaged.
        """
        patch = self.patches.find(index) or Patch(index)
        length, rows = int(self.table["length"][index]), self.num_rows(index)
        self._check_patch(patch, length, rows)
        columns = {
            name: repaired(observations[name], rows, spec, patch.observations.get(name))
            for name, spec in self.env.observation_columns.items()
        }
        earned = np.zeros(length, dtype=np.float32)
        earned[: len(rewards)] = rewards[:length]
        if patch.rewards is not None:
            earned[patch.rewards[0]] = patch.rewards[1]
        return self._assemble(index, columns, earned)

    def stored_episodes(self) -> Iterator[Episode]:
        """All episodes, in order; of kind ``"frames"`` only.

        Raises:
            RunError: If a block is damaged.
        """
        for index in range(self.num_episodes):
            start, stop = int(self.row_starts[index]), int(self.row_starts[index + 1])
            columns = {name: self._columns.read(name, start, stop) for name in self.env.observation_columns}
            rewards = self._rewards.read(int(self.starts[index]), int(self.starts[index + 1]))
            yield self._assemble(index, columns, rewards)

    def matches(self, index: int, checksum: bytes) -> bool:
        """Whether an episode's checksum is that of the episode that was packed."""
        return bool(self.table["check"][index].tobytes() == checksum[:CHECK_BYTES])

    def name_of(self, index: int) -> str:
        """An episode in words."""
        level, episode = self.table["level"][index], self.table["episode"][index]
        return f"episode {episode} of level {level} by {self.sources[self.table['source'][index]]!r}"

    def _assemble(self, index: int, observations: dict[str, Column], rewards: Array) -> Episode:
        start, stop = int(self.starts[index]), int(self.starts[index + 1])
        entry = {name: values[index] for name, values in self.table.items()}
        log_probs = None if self._log_probs is None else self._log_probs.read(start, stop).astype(np.float16)
        return Episode(
            env=self.env.name,
            level=int(entry["level"]),
            episode=int(entry["episode"]),
            seed=int(entry["seed"]),
            source=self.sources[entry["source"]],
            policy_id=self.policies[entry["policy"]],
            observations=observations,
            actions=self._actions.read(start, stop).astype(np.int32),
            rewards=rewards.astype(np.float32),
            behavior_logp=self._logp.read(start, stop).astype(np.float32),
            behavior_log_probs=log_probs,
            terminated=bool(entry["terminated"]),
            truncated=bool(entry["truncated"]),
            final_observation_known=bool(entry["final_observation_known"]),
            metrics=self._metrics_of(index),
        )

    def _metrics_of(self, index: int) -> dict[str, float]:
        return {name: float(values[index]) for name, values in self._metrics.items() if not np.isnan(values[index])}

    def _check_patch(self, patch: Patch, length: int, rows: int) -> None:
        places = [(found, rows) for found, _ in patch.observations.values()]
        if patch.rewards is not None:
            places.append((patch.rewards[0], length))
        if any((found < 0).any() or (found >= limit).any() for found, limit in places):
            raise self.file.damaged(f"patches rows of {self.name_of(patch.index)} that it does not have")
