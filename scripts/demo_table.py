"""Prints the demo's summary: `demo_table.py FOLDER TIMES UNSEEN`.

FOLDER is the demo's, TIMES a file of `step<TAB>seconds` lines, UNSEEN the folder with the images that training never saw.
"""

import sys
from pathlib import Path

from limiar.convert.evaluate.evaluate import evaluate
from limiar.edge_app.bundle.open import Bundle, open_bundle

FIGURES = ("accuracy", "sensitivity", "specificity", "auc", "refer_rate", "accuracy_decided")


def answers_table(folder: Path, unseen: Path) -> list[str]:
    """Lines: how good the answers for unseen images are, with 95 % intervals.

    Generated images have their label in their names; of your own images, it is the test split that training kept apart.
    """
    generated = (folder / "unseen-images").is_dir()
    found = evaluate(folder / "bundle", unseen, csv=None if generated else folder / "run" / "splits.csv")
    figures = {name: found.figures[name] for name in found.figures if name in FIGURES or name.startswith("recall_")}
    return [f"{found.origin.file} on {found.images} images that training never saw"] + [
        f"  {name.replace('_', ' '):18}{metric.value:6.3f}   {metric.low:.3f} .. {metric.high:.3f}"
        for name, metric in figures.items()
    ]


def files_table(bundle: Bundle) -> list[str]:
    """Lines: every model file with its size, and its accuracy on the test split of the run."""
    lines = ["model files                bytes   accuracy, test split"]
    for name, file in bundle.manifest.models.items():
        metrics = file.model.metrics if file.model else {}
        accuracy = f"{metrics['accuracy'].value:.3f}" if "accuracy" in metrics else ""
        lines.append(f"  {name:18}{file.bytes:12,}   {accuracy}")
    return lines


def main(folder: Path, times: Path, unseen: Path) -> None:
    steps = [line.split("\t") for line in times.read_text().splitlines()]
    lines = [
        *answers_table(folder, unseen),
        *files_table(open_bundle(folder / "bundle")),
        "time",
        *(f"  {name:18}{int(seconds):6} s" for name, seconds in steps),
        f"  {'all':18}{sum(int(seconds) for _, seconds in steps):6} s",
        "reports",
        f"  training    {(folder / 'run' / 'report.html').resolve()}",
        f"  conversion  {(folder / 'bundle' / 'report.html').resolve()}",
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
