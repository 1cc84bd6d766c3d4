"""A dataset's card for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.files import format_bytes
from data.measures import MEASURES, NUM_DRAWS
from metrics.card_samples import Transcript

_BAR_WIDTH = 32
_SHOWN = 8
_TEXT_WIDTH = 100
_TEXT_LINES = 12


def card_lines(card: Mapping[str, Any], transcript: Transcript | None = None) -> Iterator[str]:
    """The lines of a card.

    Args:
        card: From `metrics.card.make_card`.
        transcript: Of one episode; None leaves it out.
    """
    yield f"{card['env']} in {card['path']} ({format_bytes(card['num_bytes'])}, license {card['license']})"
    levels = card["levels"]
    yield f"  {card['num_transitions']} transitions in {card['num_episodes']} episodes on levels {levels['described']}"
    yield f"  sources: {', '.join(card['sources'])}; recorded {card['created']}"
    yield from _numbers(card)
    yield f"  fingerprint {card['fingerprint']}"
    yield "episode return"
    yield from bars(card["return_histogram"])
    yield "actions"
    yield from action_bars(card["actions"])
    yield f"measures at {NUM_DRAWS} draws"
    width = max(map(len, card["measures"]))
    for name, value in card["measures"].items():
        yield f"  {name:<{width}} {value:>9.4g}  {MEASURES[name]}"
    yield "behavior policies"
    for entry in card["behavior"][:_SHOWN]:
        yield (
            f"  {entry['source']} ({entry['policy']}): {entry['episodes']} episodes, {entry['transitions']} "
            f"transitions on {entry['levels']} levels, mean return {entry['mean_return']:.4g}"
        )
    if len(card["behavior"]) > _SHOWN:
        yield f"  and {len(card['behavior']) - _SHOWN} more"
    if transcript is not None:
        yield from transcript_lines(transcript)


def _numbers(card: Mapping[str, Any]) -> Iterator[str]:
    returns, per_level, actions = card["episode_return"], card["levels"]["episodes_per_level"], card["actions"]
    yield (
        f"  return: mean {returns['mean']:.4g}, median {returns['median']:.4g}, {returns['min']:g}..{returns['max']:g}"
    )
    yield f"  mean length {card['mean_length']:.1f} steps, effective levels {card['effective_levels']:.1f}"
    yield (
        f"  episodes per level: {per_level['min']} to {per_level['max']}, median {per_level['median']:g}; "
        f"{card['ends']['terminated']} terminated, {card['ends']['truncated']} truncated"
    )
    surprise = actions["mean_surprise"]
    known = "" if surprise is None else f"; its policies' mean -log p is {surprise:.3g} nats"
    yield (
        f"  action entropy {actions['entropy']:.3g} nats (as many as {actions['effective']:.1f} of "
        f"{actions['num_actions']} actions){known}"
    )
    for name, about in card["metrics"].items():
        yield f"  {name}: mean {about['mean']:.4g} of {about['num_episodes']:.0f} episodes"


def bars(histogram: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """One line for each bar of a histogram."""
    labels = [bar_label(bar) for bar in histogram]
    yield from _bars(labels, [int(bar["count"]) for bar in histogram])


def bar_label(bar: Mapping[str, float]) -> str:
    """``"10"`` or ``"0 to 2.5"``."""
    return f"{bar['low']:.4g}" if bar["low"] == bar["high"] else f"{bar['low']:.4g} to {bar['high']:.4g}"


def action_bars(actions: Mapping[str, Any]) -> Iterator[str]:
    """The most frequent actions."""
    ranked = sorted(actions["counts"].items(), key=lambda item: -item[1])
    yield from _bars([name for name, _ in ranked[:_SHOWN]], [count for _, count in ranked[:_SHOWN]])
    if len(ranked) > _SHOWN:
        yield f"  and {len(ranked) - _SHOWN} more"


def _bars(labels: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    width, highest = max(map(len, labels)), max(*counts, 1)
    for label, count in zip(labels, counts, strict=True):
        bar = "#" * (round(_BAR_WIDTH * count / highest) or int(count > 0))
        yield f"  {label:>{width}} {bar:<{_BAR_WIDTH}} {count:,}"


def transcript_lines(transcript: Transcript, num_steps: int = 3) -> Iterator[str]:
    """The first steps of an episode, to read."""
    yield f"an episode: {transcript.title}"
    for step in transcript.steps[:num_steps]:
        for name, texts in step.columns.items():
            lines = [line for text in texts for line in text.split("\n")]
            yield f"  [{step.step}] {name}: " + (cut(lines[0]) if lines else "nothing")
            yield from (f"      {cut(line)}" for line in lines[1:_TEXT_LINES])
            if len(lines) > _TEXT_LINES:
                yield f"      ... {len(lines) - _TEXT_LINES} more lines"
        yield f"  [{step.step}] does {cut(step.action)}, gets {step.reward:g}"
    left_out = transcript.num_left_out + max(len(transcript.steps) - num_steps, 0)
    if left_out:
        yield f"  ... {left_out} more steps"


def cut(text: str) -> str:
    """A line that fits, without what a terminal would obey."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= _TEXT_WIDTH else plain[: _TEXT_WIDTH - 3] + "..."
