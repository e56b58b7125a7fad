#!/usr/bin/env python3
"""Does `limiar bench` find the same median of invoke as LiteRT's own Python benchmark, on the same file and threads?

    studies/bench_litert_tool.py [--file tflite_int8,tflite_fp32] [--threads 1,2] [--rounds 12] [--json FILE]

The tool (`ai_edge_litert.tools.benchmark_litert_model` in its wheel) fills the input once, then times each run, as
limiar does; neither copies images. But it runs models in a CompiledModel, limiar in an Interpreter (a CompiledModel dies on a
Raspberry Pi 3 or 4: edge_app/runtimes/litert.py), and a call of the one costs more than of the other. So like is compared with
like, twice: the tool as it is with a limiar whose invoke runs a CompiledModel, and limiar as it is with a tool that runs an
Interpreter. Both others are printed too. The four take turns, each in fresh processes, in an order that changes every round.

The tool makes as many calls as limiar, after 200 that do not count. What it prints has hundredths of a millisecond, so its
rounding is switched off; nothing else in it is changed.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from _patched import patched
from limiar.edge_app.bench.ratios import Ratio, within
from limiar.edge_app.bench.recorded import read_result
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.system.progress import ProgressLine

BOUND = 0.03
CALLS = 1000  # of each process of the tool, and of each `limiar bench --preset quick`
WARM_UP = 200

# argv: the tool's.
TOOL = """
from ai_edge_litert.tools import benchmark_litert_model as tool

tool.round = lambda value, digits: value
"""
MEASURED = """
print("median_ms", tool.run_benchmark(tool.parse_args())["latency"]["median_ms"])
"""
# Has what run_benchmark() calls. The input is filled here: it fills only what the model says it has.
IN_INTERPRETER = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter

class InInterpreter:
    def __init__(self, path, environment, options):
        interpreter = Interpreter(model_path=path, num_threads=options.cpu_options.num_threads)
        interpreter.allocate_tensors()
        (given,) = interpreter.get_input_details()
        interpreter.set_tensor(given["index"], np.random.randint(-128, 128, given["shape"]).astype(given["dtype"]))
        invoke = interpreter.invoke
        self.run_by_name = lambda key, inputs, outputs: invoke()

    @classmethod
    def from_file(cls, *words, **named):
        return cls(*words, **named)

    get_signature_list = get_input_tensor_details = get_output_tensor_details = lambda self, key=None: {}
    get_num_signatures = get_signature_index = lambda self, key=None: 0
    is_fully_accelerated = lambda self: True

others = tool._import_litert()[1:]
tool._import_litert = lambda: (InInterpreter, *others)
"""
# For limiar's processes: an Interpreter whose invoke runs a CompiledModel, with an input as the tool fills it.
IN_COMPILED_MODEL = """
def patch(module):
    import functools, os
    from ai_edge_litert.tools import benchmark_litert_model as tool
    CompiledModel, HardwareAccelerator, Environment, EnvironmentOptions, Options, CpuOptions = tool._import_litert()

    class WithCompiledModel(module.Interpreter):
        def __init__(self, model_content, num_threads, **others):
            super().__init__(model_content=model_content, num_threads=num_threads, **others)
            cpu = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=num_threads))
            self.file = os.memfd_create("model")
            os.write(self.file, model_content)
            path, environment = f"/proc/self/fd/{self.file}", Environment.create(options=EnvironmentOptions())
            self.model = CompiledModel.from_file(path, environment=environment, options=cpu)
            key = next(iter(self.model.get_signature_list()))
            details, got = self.model.get_input_tensor_details(key), self.model.get_output_tensor_details(key)
            inputs = {name: self.model.create_input_buffer_by_name(key, name) for name in details}
            outputs = {name: self.model.create_output_buffer_by_name(key, name) for name in got}
            for name, given in inputs.items():
                tool.fill_random_input(given, details[name])
            self.invoke = functools.partial(self.model.run_by_name, key, inputs, outputs)

    module.Interpreter = WithCompiledModel
"""


class Variant(Struct, frozen=True):
    """One thing that both measure."""

    file: str
    threads: int


class Compared(Struct, frozen=True):
    """A median that limiar found, divided by the one that the tool found."""

    variant: Variant
    what: str
    limiar_us: float  # medians of the rounds
    tool_us: float
    ratio: Ratio
    bounded: bool

    @property
    def holds(self) -> bool:
        return not self.bounded or abs(self.ratio.ratio - 1) <= BOUND


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=Path("models/lung-nodule"))
    options.add_argument("--file", default="tflite_int8,tflite_fp32")
    options.add_argument("--threads", default="1,2")
    options.add_argument("--rounds", type=int, default=12, help="at least 2; two threads on two shared cores need many")
    options.add_argument("--json", type=Path)
    options.add_argument("--prefix", default="", help="a command that starts each process, such as: chrt -f 10")
    asked = options.parse_args()
    if asked.rounds < 2:
        options.error("--rounds must be at least 2")
    variants = [Variant(file, int(threads)) for file in asked.file.split(",") for threads in asked.threads.split(",")]
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="limiar-bench-") as made:
        found = measure(asked.bundle, variants, asked.rounds, shlex.split(asked.prefix), Path(made))
    minutes = (time.monotonic() - began) / 60
    print(f"{asked.rounds} rounds in {minutes:.1f} min; load {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    print(f"\n{'p50 of invoke, us, medians of the rounds':<52} {'limiar':>7} {'tool':>7}  limiar / tool, 95 %       must be")
    for one in found:
        what = f"{one.variant.file}, {one.variant.threads} thread{'s'[one.variant.threads == 1 :]}, {one.what}"
        ratio = f"{one.ratio.ratio:.3f} ({one.ratio.low:.3f} to {one.ratio.high:.3f})"
        bound = f"{1 - BOUND:.2f} to {1 + BOUND:.2f}" if one.bounded else ""
        print(
            f"{what:<52} {one.limiar_us:>7.2f} {one.tool_us:>7.2f}  {ratio:<24} {bound}{'' if one.holds else '   NOT REACHED'}"
        )
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0 if all(one.holds for one in found) else 3


def measure(bundle: Path, variants: Sequence[Variant], rounds: int, prefix: list[str], folder: Path) -> list[Compared]:
    """All figures; whoever measures takes turns."""
    opened = open_bundle(bundle)
    compiled = patched(folder / "patched", "ai_edge_litert.interpreter", IN_COMPILED_MODEL)

    def limiar(environment: Mapping[str, str]) -> Callable[[Variant], float]:
        def p50_us(variant: Variant) -> float:
            path = folder / "bench.json"
            words = ["--file", variant.file, "--threads", str(variant.threads), "--preset", "quick", "--count", str(CALLS)]
            how = [*prefix, sys.executable, "-m", "limiar", "bench", str(bundle), "--runtime", "litert"]
            run([*how, *words, "--json", str(path)], environment)
            return read_result(path).measurements[0].invoke.p50_us or 0

        return p50_us

    def tool(script: str) -> Callable[[Variant], float]:
        def p50_us(variant: Variant) -> float:
            model = folder / f"{variant.file}.tflite"
            model.write_bytes(opened.model(variant.file)[1])
            words = ["--num_threads", str(variant.threads), "--num_runs", str(CALLS), "--warmup_runs", str(WARM_UP)]
            said = run([*prefix, sys.executable, "-c", script, "--model", str(model), *words], os.environ)
            return 1000 * next(float(line.split()[1]) for line in said.splitlines() if line.startswith("median_ms"))

        return p50_us

    measured: dict[str, Callable[[Variant], float]] = {
        "limiar": limiar(os.environ),
        "tool": tool(TOOL + MEASURED),
        "limiar in a CompiledModel": limiar(compiled),
        "tool in an Interpreter": tool(TOOL + IN_INTERPRETER + MEASURED),
    }
    us: dict[tuple[Variant, str], list[float]] = {}
    with ProgressLine() as line:
        for round_ in range(rounds):
            for variant in variants:
                names = list(measured)
                for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                    line.draw(f"round {round_ + 1} of {rounds}: {variant.file}, {variant.threads} threads, {name}")
                    us.setdefault((variant, name), []).append(measured[name](variant))
    return [compared(variant, us, *pair) for variant in variants for pair in PAIRS]


# What is compared, limiar's side, the tool's side, and whether it is like with like.
PAIRS = (
    ("both in an Interpreter", "limiar", "tool in an Interpreter", True),
    ("both in a CompiledModel", "limiar in a CompiledModel", "tool", True),
    ("both as they are", "limiar", "tool", False),
)


def compared(
    variant: Variant, us: Mapping[tuple[Variant, str], Sequence[float]], what: str, of_limiar: str, of_tool: str, bounded: bool
) -> Compared:
    sides = us[variant, of_limiar], us[variant, of_tool]
    limiar_rounds, tool_rounds = ([[round(1000 * one)] for one in side] for side in sides)
    ratio = within(tool_rounds, limiar_rounds, np.random.default_rng(0))
    assert ratio  # two rounds at least
    return Compared(variant, what, statistics.median(sides[0]), statistics.median(sides[1]), ratio, bounded)


def run(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)[:300]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
