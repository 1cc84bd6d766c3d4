"""`gengap data info`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from envs.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="dataset directory, or a file that `gengap data pack` wrote")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write the card as a page, with frames or a transcript"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print what a dataset holds; the result is its card."""
    from data.dataset import Dataset
    from data.files import atomic_write_text
    from metrics.card import make_card
    from metrics.card_samples import sample_frames, sample_transcript
    from metrics.card_text import card_lines

    if args.html is not None and args.html.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--html is {args.html}; the page is written as .html.")
    if args.directory.is_file():
        return _packed(args.directory, args.html)
    card = make_card(args.directory)
    dataset = Dataset.open(args.directory)
    transcript = sample_transcript(dataset)
    for line in card_lines(card, transcript):
        print(line)
    if args.html is not None:
        from metrics.card_html import render_card

        args.html.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(args.html, render_card(card, sample_frames(dataset), transcript))
        print(f"page: {args.html}")
        card["html"] = str(args.html)
    return card


def _packed(file: Path, html: Path | None) -> dict[str, Any]:
    """What is known of a packed dataset without unpacking it."""
    from data.files import format_bytes
    from data.pack.packed import Packed

    if html is not None:
        raise UsageError(f"{file} is a packed dataset; unpack it with `gengap data unpack` to see its page.")
    with Packed(file) as packed:
        print(f"{packed.env.name} packed as {packed.kind} in {file} ({format_bytes(packed.file.num_bytes)})")
        print(f"  {packed.num_transitions} transitions in {packed.num_episodes} episodes, license {packed.license}")
        sizes = {name: array.num_stored_bytes for name, array in packed.file.arrays.items() if len(array)}
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:5]:
            print(f"  {name}: {size / packed.num_transitions:.3g} bytes a transition")
        print(f"  fingerprint {packed.fingerprint}")
        return {
            "path": str(file),
            "env": packed.env.name,
            "kind": packed.kind,
            "fingerprint": packed.fingerprint,
            "license": packed.license,
            "created": packed.created,
            "checked": packed.checked,
            "rounded_from": packed.rounded_from,
            "num_episodes": packed.num_episodes,
            "num_transitions": packed.num_transitions,
            "num_bytes": packed.file.num_bytes,
            "unpacked_bytes": packed.unpacked_bytes,
            "stored_bytes": sizes,
            "provenance": packed.provenance,
        }
