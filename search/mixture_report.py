"""The report of a mixture search: the best mixture, beside the baseline of equal compute, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from envs.errors import RunError
from metrics import plots, statistics
from metrics.protocol import ActionMode, Role
from metrics.wandb_logger import Mode
from search.findings import commands
from search.headline import NO_EFFECT, interval_text
from search.level_scores import RAW, Bootstrap, level_scores, policy_returns
from search.mixture_envs import env_tables, mean_table, with_target
from search.mixture_measures import mixture_predictors
from search.mixture_sections import build_mixture_sections, weights_text
from search.mixture_tracking import STEP_NAME, mixture_rows
from search.predictors import resolved
from search.predictors_section import predictor_pictures, predictors_text
from search.report import MARKDOWN_FILE, NUMBERS_FILE, PAGE_FILE, REPORT_FOLDER, render_markdown
from search.report_hero import Tile, seal_tile
from search.report_html import render_html
from search.report_media import Picture
from search.report_pictures import shown_pictures
from search.report_shown import read_shown
from search.report_tracking import page_panels, send_report
from search.study import CONFIG_FILE, RANDOM_POLICY, STUDY_FILE, Study, read_json, read_study
from trainers.several_envs import MEAN_OVER_ENVS

MODE: ActionMode = "sampled"


def write_mixture_report(study_dir: Path, bootstrap: Bootstrap | None = None, *, wandb: Mode = "disabled") -> Path:
    """Write the report of a mixture search into its folder ``report``; reads files, plays nothing.

    Args:
        study_dir: A mixture search that has come as far as confirming.
        bootstrap: Seed, resamples and confidence of the intervals.
        wandb: Whether its panels also become a run of the study in W&B, as for `metrics.wandb_logger.WandbLogger`.

    Returns:
        The page, ``report/index.html``.

    Raises:
        UsageError: If the directory is no study.
        RunError: If the study is unfinished or damaged.
    """
    findings = build_mixture_findings(study_dir, bootstrap or Bootstrap())
    pictures = [*draw_mixture_pictures(findings), *shown_pictures(findings, study_dir)]
    sections = build_mixture_sections(findings, [drawn.name for drawn in pictures])
    folder = study_dir / REPORT_FOLDER
    folder.mkdir(exist_ok=True)
    for drawn in pictures:
        atomic_write_bytes(folder / drawn.file, drawn.content)
    atomic_write_text(folder / MARKDOWN_FILE, render_markdown(findings, sections, pictures))
    atomic_write_text(folder / PAGE_FILE, render_html(findings, sections, pictures, build_mixture_tiles(findings)))
    atomic_write_json(folder / NUMBERS_FILE, findings)  # last: a complete report.json means a complete report
    rows, panels = mixture_rows(findings), partial(page_panels, findings, sections, pictures, folder / PAGE_FILE)
    send_report(read_study(study_dir), findings, rows, panels, folder / PAGE_FILE, wandb, step_name=STEP_NAME)
    return folder / PAGE_FILE


def build_mixture_findings(study_dir: Path, bootstrap: Bootstrap) -> dict[str, Any]:
    """Every number of the report, with its headline.

    Raises:
        RunError: If nothing was confirmed and judged yet.
    """
    study, value = read_study(study_dir), read_json(study_dir / STUDY_FILE)
    config = read_json(study_dir / CONFIG_FILE)
    if not len(study.table) or study.selection is None or not value.get("confirmed"):
        raise RunError(
            f"The study {study_dir} has nothing to report yet; `gengap status {study_dir}` shows how far it is, "
            "`gengap sweep --resume` continues it."
        )
    target = with_target(study)
    arms = [record | policy_returns(target.table, record["policies"], MODE, bootstrap) for record in value["confirmed"]]
    played = study.table.frame.groupby("role")["env"].unique()
    findings = {
        "study": study.name,
        "env": study.env,
        "environments": {role: ", ".join(sorted(envs)) for role, envs in played.items()},
        "created": study.created,
        "protocol": ", ".join(sorted(study.table.frame["protocol"].unique())),
        "mode": MODE,
        "baseline": config["baseline"],
        "seeds": list(study.seeds),
        "num_transitions": study.num_transitions,
        "objectives": config["objectives"],
        "dimensions": config["dimensions"],
        "arms": arms,
        "differences": _differences(target, value["confirmed"], config["baseline"], bootstrap),
        "random": policy_returns(target.table, [RANDOM_POLICY], MODE, bootstrap),
        "judged_in": str(target.table.frame["env"].iloc[0]),
        "each_env": _in_each_env(study, value["confirmed"], bootstrap),
        "configurations": value["configurations"],
        "predictors": mixture_predictors(value["configurations"], bootstrap.rng("predictors"), **bootstrap.options),
        "design": value.get("design"),
        "sources": value["sources"],
        "compute": value["compute"],
        "selection": study.selection.to_json() | {"oracle": study.selection.oracle},
        "ledger": [dict(record) for record in study.ledger],
        "grown": [dict(record) for record in study.grown],
        "failures": [dict(record) for record in study.failures],
        "shown": read_shown(study),
        "timings_s": dict(study.timings_s),
        "machine": dict(study.machine),
        "commands": commands(study),
        "bootstrap": asdict(bootstrap),
    }
    return add_mixture_headline(findings)


def _in_each_env(study: Study, confirmed: Sequence[Mapping[str, Any]], bootstrap: Bootstrap) -> dict[str, Any]:
    """Environment -> arm -> normalized return on every split; empty for a study in one environment."""
    tables = env_tables(study)
    if len(tables) == 1:
        return {}
    return {
        env: {arm["arm"]: policy_returns(table, arm["policies"], MODE, bootstrap)["normalized"] for arm in confirmed}
        for env, table in {**tables, MEAN_OVER_ENVS: mean_table(tables)}.items()
    }


def add_mixture_headline(findings: Mapping[str, Any]) -> dict[str, Any]:
    """The findings with ``best_arm``, ``headline``, ``explanation`` and ``effect_detected``.

    The best arm is chosen by validation, so its test return is no maximum over arms. An effect counts as detected if
    an arm's paired difference from the baseline, at the confidence that allows for the number of arms compared,
    excludes zero. A study of one arm compares nothing: its effect is a measure of the data that predicts.
    """
    chosen = max(findings["arms"], key=lambda arm: arm["normalized"]["validation"]["mean"])
    role = "test" if "test" in chosen["returns"] else "validation"
    best = f"Best mixture on validation levels, of the arm {chosen['arm']}: {weights_text(chosen['weights'])}"
    difference = findings["differences"].get(chosen["arm"])
    detected = difference is not None and difference["resolved"]
    result = f"{role} return {interval_text(chosen['returns'][role])}"
    if len(findings["arms"]) == 1:
        return _predictor_headline(findings, f"{best}. It has a {result} (intervals over levels and train seeds).")
    if difference is None:
        verdict = f"{NO_EFFECT}: no arm did better than the baseline {findings['baseline']!r} on validation levels"
    else:
        amount = f"{interval_text(difference, signed=True)} against {findings['baseline']!r} at equal compute"
        verdict = amount if detected else f"{amount}, {NO_EFFECT}"
    return {
        "headline": NO_EFFECT if not detected else f"{best}: {result}, {amount}",
        "explanation": f"{best}. It has a {result}; {verdict} (intervals over levels and train seeds)."
        + _stated(findings),
        "best_arm": chosen["arm"],
        "effect_detected": detected,
        **findings,
    }


def _predictor_headline(findings: Mapping[str, Any], best: str) -> dict[str, Any]:
    entries = findings.get("predictors", [])
    detected = any(resolved(entries, key) for key in ("correlation", "gap_correlation"))
    text = predictors_text(entries)
    return {
        "headline": text if detected else NO_EFFECT,
        "explanation": best if detected else f"{text} {best}".strip(),
        "best_arm": findings["arms"][0]["arm"],
        "effect_detected": detected,
        **findings,
    }


def _stated(findings: Mapping[str, Any]) -> str:
    design = findings.get("design")
    if not design:
        return ""
    return f" Stated before the search: a difference of {design['smallest_difference']:.2f} can be detected."


def _differences(
    study: Study, confirmed: Sequence[Mapping[str, Any]], baseline: str, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Return of each arm minus the baseline's, level by level; Bonferroni over the arms compared."""
    policies = {record["arm"]: record["policies"] for record in confirmed}
    others = [name for name in policies if name != baseline]
    options = {**bootstrap.options, "confidence": 1 - (1 - bootstrap.confidence) / max(1, len(others))}
    differences = {}
    for name in others:
        for role in (Role.TEST, Role.VALIDATION):
            pair = [level_scores(study.table, role, MODE, RAW, policies[arm]) for arm in (name, baseline)]
            if pair[0] is None or pair[1] is None or not np.array_equal(pair[0].levels, pair[1].levels):
                continue
            rng = bootstrap.rng("arms", name, baseline, role.value)
            interval = statistics.paired_difference(pair[0].values, pair[1].values, rng, **options)
            differences[name] = interval.to_json() | {"role": role.value, "resolved": interval.excludes(0.0)}
            break
    return differences


def draw_mixture_pictures(findings: Mapping[str, Any]) -> list[Picture]:
    """Arms with intervals, and the best value so far against the number of configurations tried."""
    arms = {arm["arm"]: arm for arm in findings["arms"]}
    role = "test" if all("test" in arm["returns"] for arm in arms.values()) else "validation"
    values = {name: arm["returns"][role] for name, arm in arms.items()}
    lines = {name: _best_so_far(findings["configurations"], name) for name in arms}
    bars = partial(
        plots.intervals,
        values,
        title=f"{role.capitalize()} return of what each arm found",
        xlabel="episode return, with intervals over levels and train seeds",
    )
    curves = partial(
        plots.curves,
        lines,
        title="The search",
        ylabel="best of the first objective so far",
        xlabel="configurations tried",
    )
    told = "; ".join(f"{name} {interval_text(value)}" for name, value in values.items())
    reached = "; ".join(f"{name} {line['mean'][-1]:.3f}" for name, line in lines.items() if line["mean"])
    return [
        *predictor_pictures(findings),
        Picture(
            name="arms",
            caption="Equal compute for every arm.",
            alt=f"{role.capitalize()} return of each arm with its interval: {told}.",
            draw=lambda shape: bars(shape=shape),
        ),
        Picture(
            name="search",
            caption="Mean over the seeds of each configuration, on validation levels.",
            alt=f"Best of the first objective against the configurations tried; at the end: {reached}.",
            draw=lambda shape: curves(shape=shape),
        ),
    ]


def build_mixture_tiles(findings: Mapping[str, Any]) -> list[Tile]:
    """The best mixture, its return, the difference from the baseline, and the seal."""
    chosen = next(arm for arm in findings["arms"] if arm["arm"] == findings["best_arm"])
    role = "test" if "test" in chosen["returns"] else "validation"
    difference = findings["differences"].get(chosen["arm"])
    against = "the baseline itself" if difference is None else interval_text(difference, signed=True)
    compared = Tile("Against the baseline", against, f"{findings['baseline']}, at equal compute, on the same levels")
    return [
        Tile("Best mixture", weights_text(chosen["weights"]), f"of the arm {chosen['arm']}, by validation return"),
        Tile(f"{role.capitalize()} return", interval_text(chosen["returns"][role]), "full runs on fresh seeds"),
        *([compared] if len(findings["arms"]) > 1 else []),
        seal_tile(findings),
    ]


def _best_so_far(configurations: Sequence[Mapping[str, Any]], arm: str) -> dict[str, list[float]]:
    losses = [np.inf if c["losses"] is None else c["losses"][0] for c in configurations if c["arm"] == arm]
    best = np.minimum.accumulate(losses)
    kept = np.isfinite(best)
    return {"x": (np.flatnonzero(kept) + 1.0).tolist(), "mean": (-best[kept]).tolist()}
