"""Plays a study's examples again and keeps what can be seen: animations, transcripts, first frames of levels."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.animation import animation_bytes
from actors.rollout import RecordOptions, play
from actors.sources import SourceSpec, load_policy
from data.episode import Episode
from data.files import atomic_write_bytes, atomic_write_json
from envs.console import Progress, say
from envs.errors import RunError, UsageError
from envs.overrides import config_from_json
from envs.registry import make_spec, make_vec
from envs.spec import EnvSpec
from metrics.card_samples import episode_transcript, picture_column, shows_text
from metrics.ledger import check_permit
from metrics.protocol import Role
from search.config import SweepConfig
from search.examples import Example, Sheet, choose_examples, choose_sheets
from search.mixture_config import MixtureSearchConfig
from search.report_shown import SHOWN_FILE, SHOWN_FOLDER, read_shown, wanted_examples
from search.study import Study, read_study

Config = SweepConfig | MixtureSearchConfig
FRAMES_PER_S = 12.0
SCALE = 2
"""Screen pixels per pixel."""
MAX_FRAMES = 80
HOLD_S = 1.5
TEXT_STEPS = 8


def show_study(study: Study) -> Path:
    """Play the examples and keep what they show under ``shown/``; what was shown of the same choices stays.

    Only training levels and unseen levels outside the sealed test are played.

    Returns:
        The record, ``shown/shown.json``, which is written last.

    Raises:
        SealedTestError: If a test level was chosen.
        RunError: If a checkpoint that the examples need is gone, or the study has selected nothing yet.
    """
    kind: type[Config] = MixtureSearchConfig if study.searches_mixtures else SweepConfig
    config = config_from_json(kind, dict(study.config))
    examples, sheets = choose_examples(study), choose_sheets(study)
    for role, policy in [(e.role, e.policy) for e in examples] + [(s.role, s.policy) for s in sheets]:
        check_permit(Role(role), None, policy)
    if not examples:
        raise RunError(f"{study.directory} has no selected policy that was evaluated, so there is nothing to show.")
    folder = study.directory / SHOWN_FOLDER
    if read_shown(study) is not None:
        return folder / SHOWN_FILE
    folder.mkdir(exist_ok=True)
    record: dict[str, Any] = {"examples": [], "sheets": []}
    with Progress("show", len(examples) + len(sheets), "episodes and sheets") as progress:
        for sheet in sheets:
            record["sheets"].append(_keep_sheet(sheet, folder))
            progress.update(len(record["sheets"]))
        for example in examples:
            checkpoint = _checkpoint(study, config, example)
            record["examples"].append(_keep_example(example, checkpoint, config, folder))
            progress.update(len(record["sheets"]) + len(record["examples"]))
    # Last, so that a record means that its files are there.
    atomic_write_json(folder / SHOWN_FILE, {"wanted": wanted_examples(study), **record})
    return folder / SHOWN_FILE


def show_if_possible(study_dir: Path) -> None:
    """Episodes for the report; without them it is complete in every number, so they are no reason to fail."""
    try:
        show_study(read_study(study_dir))
    except (UsageError, RunError) as error:
        say(f"The report shows no episodes: {error}")


def _checkpoint(study: Study, config: Config, example: Example) -> Path:
    checkpoint = study.trial_directory(example.policy) / "checkpoints" / config.checkpoint
    if not (checkpoint / "policy.json").exists():
        raise RunError(
            f"The checkpoint {checkpoint} is gone, so its policy cannot be shown. `gengap report` without --animate "
            "writes the report without moving pictures."
        )
    return checkpoint.resolve()


def _keep_example(example: Example, checkpoint: Path, config: Config, folder: Path) -> dict[str, Any]:
    episode, same = _replay(example, checkpoint, config)
    about = example.to_json() | {
        "replayed_return": episode.episode_return,
        "replayed_length": len(episode),
        "same_as_evaluated": same,
        "command": _watch_command(example, config),
    }
    spec = make_spec(example.env)
    if picture_column(spec) is not None:
        stride = max(1, -(-len(episode) // MAX_FRAMES))
        gif = animation_bytes(episode, fps=FRAMES_PER_S, scale=SCALE, stride=stride, hold_s=HOLD_S)
        atomic_write_bytes(folder / f"{example.name}.gif", gif)
        return about | {"file": f"{example.name}.gif", "stride": stride}
    if shows_text(spec):
        return about | {"transcript": _transcript_json(spec, episode)}
    return about


def _replay(example: Example, checkpoint: Path, config: Config) -> tuple[Episode, bool]:
    """The evaluated episode again, and whether it came out the same.

    Alone first, which is quick; where the arithmetic of another batch size led it elsewhere, in a batch of the size
    that was evaluated.
    """
    import torch

    torch.set_num_threads(1)  # one row at a time gains nothing from more, and much is lost where cores are busy
    policy = load_policy(SourceSpec(env=example.env, name=str(checkpoint)))
    same = False
    for num_envs in (1, config.judge.num_envs):
        with _closing(example.env, num_envs) as env:
            mode: Any = example.mode
            (episode,) = play(
                env,
                policy,
                [(example.level, example.episode)],
                seed=config.experiment.seed,
                mode=mode,
                record=RecordOptions(source=example.policy),
            )
        same = len(episode) == example.length and bool(np.isclose(episode.episode_return, example.episode_return))
        if same:
            break
    return episode, same


def _watch_command(example: Example, config: Config) -> str:
    """What to type, in the study's directory, to see the episode as long as it is."""
    return (
        f"gengap watch trials/{example.policy}/checkpoints/{config.checkpoint} --level {example.level} "
        f"--episode {example.episode} --seed {config.experiment.seed} --mode {example.mode} -o {example.name}.gif"
    )


def _keep_sheet(sheet: Sheet, folder: Path) -> dict[str, Any]:
    column = picture_column(make_spec(sheet.env))
    if column is None:
        return sheet.to_json()
    name = f"levels-{sheet.role}.png"
    atomic_write_bytes(folder / name, _strip(first_frames(sheet.env, sheet.levels, column)))
    return sheet.to_json() | {"file": name}


def first_frames(env_name: str, levels: Sequence[int], column: str) -> npt.NDArray[np.uint8]:
    """The frame [L, H, W, C] that each level begins with."""
    with _closing(env_name, len(levels)) as env:
        observations, _ = env.reset(options={"levels": np.asarray(levels, dtype=np.int64)})
        return np.array(observations[column], dtype=np.uint8)


def _strip(frames: npt.NDArray[np.uint8]) -> bytes:
    """Frames side by side as one PNG."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    row = np.concatenate(list(frames), axis=1)
    Image.fromarray(row.squeeze() if row.shape[2] == 1 else row).convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _transcript_json(spec: EnvSpec, episode: Episode) -> dict[str, Any]:
    transcript = episode_transcript(spec, episode, TEXT_STEPS)
    return {
        "steps": [dataclasses.asdict(step) for step in transcript.steps],
        "num_left_out": transcript.num_left_out,
        "candidate_column": spec.candidate_column,
    }


@contextlib.contextmanager
def _closing(env_name: str, num_envs: int) -> Iterator[Any]:
    env = make_vec(env_name, num_envs)
    try:
        yield env
    finally:
        env.close()
