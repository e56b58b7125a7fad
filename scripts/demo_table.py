"""Prints the demo's summary: `demo_table.py FOLDER TIMES`, the demo's folder and a file of `step<TAB>seconds` lines."""

import sys
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.train.record.metrics import class_metrics, decision_metrics
from limiar.train.record.run_folder import read_run, read_splits


class Answer(msgspec.Struct, frozen=True):
    """The fields needed from a line of `limiar scan --jsonl`; a refused image has no probabilities."""

    path: str
    decision: str
    sha256: str = ""
    probabilities: dict[str, float] = {}


def truths(folder: Path, answers: list[Answer]) -> dict[str, str]:
    """sha256 -> true label, for the images that training never saw.

    Generated images have it in their names; of your own images, it is the test split that training kept apart.
    """
    run = read_run(folder / "run")
    if (folder / "unseen-images").is_dir():
        suffixes = {f"_{label}": label for label in run.labels}
        return {answer.sha256: suffixes["_" + Path(answer.path).stem.rpartition("_")[2]] for answer in answers}
    return {row.sha256: row.label for row in read_splits(folder / "run", run) if row.part == "test"}


def answers_table(bundle: Bundle, answers: list[Answer], truth: dict[str, str]) -> list[str]:
    """Lines: how good the answers for unseen images are, with 95 % intervals."""
    manifest = bundle.manifest
    seen = [answer for answer in answers if answer.probabilities and answer.sha256 in truth]
    labels = [manifest.labels.index(truth[answer.sha256]) for answer in seen]
    probabilities = [[answer.probabilities[label] for label in manifest.labels] for answer in seen]
    metrics = class_metrics(labels, probabilities, manifest.labels, manifest.positive)
    metrics |= decision_metrics([truth[answer.sha256] for answer in seen], [answer.decision for answer in seen])
    return [f"{manifest.default_file} on {len(seen)} images that training never saw"] + [
        f"  {name.replace('_', ' '):18}{metric.value:6.3f}   {metric.low:.3f} .. {metric.high:.3f}"
        for name, metric in metrics.items()
    ]


def files_table(bundle: Bundle) -> list[str]:
    """Lines: every model file with its size, and its accuracy on the test split of the run."""
    lines = ["model files                bytes   accuracy, test split"]
    for name, file in bundle.manifest.models.items():
        metrics = file.model.metrics if file.model else {}
        accuracy = f"{metrics['accuracy'].value:.3f}" if "accuracy" in metrics else ""
        lines.append(f"  {name:18}{file.bytes:12,}   {accuracy}")
    return lines


def main(folder: Path, times: Path) -> None:
    bundle = open_bundle(folder / "bundle")
    answers = [msgspec.json.decode(line, type=Answer) for line in (folder / "answers.jsonl").read_bytes().splitlines()]
    steps = [line.split("\t") for line in times.read_text().splitlines()]
    lines = [
        *answers_table(bundle, answers, truths(folder, answers)),
        *files_table(bundle),
        "time",
        *(f"  {name:18}{int(seconds):6} s" for name, seconds in steps),
        f"  {'all':18}{sum(int(seconds) for _, seconds in steps):6} s",
        "reports",
        f"  training    {(folder / 'run' / 'report.html').resolve()}",
        f"  conversion  {(folder / 'bundle' / 'report.html').resolve()}",
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
