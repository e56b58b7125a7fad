#!/usr/bin/env python3
"""Draws docs/scan.png from a demo's folder: generated patches with the answers that `limiar scan --annotate` writes on them.

    studies/readme_image.py out/demo-YYYYMMDD-HHMMSS

Takes the first decided and the first referred patches in name order, right or wrong.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from limiar.edge_app.system.files import write_whole

SHOWN = (("pos", 3), ("neg", 3), ("refer", 2))  # decision, how many
TARGET = Path("docs/scan.png")


def main(demo: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "limiar", "scan", str(demo / "bundle"), str(demo / "unseen-images"), "--jsonl", "-"]
        done = subprocess.run(
            [*command, "--annotate", f"{folder}/annotated", "--db", f"{folder}/results.db"], stdout=subprocess.PIPE, check=True
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        chosen = []
        for decision, count in SHOWN:
            chosen += [line for line in lines if line["decision"] == decision][:count]
        tiles = [
            Image.open(f"{folder}/annotated/{Path(line['path']).stem}-{line['sha256'][:8]}.png")
            .convert("RGB")
            .resize((200, 222))
            for line in chosen
        ]
    strip = Image.new("RGB", (len(tiles) * 210 - 10, 222), "white")
    for index, tile in enumerate(tiles):
        strip.paste(tile, (index * 210, 0))
    file = io.BytesIO()
    strip.quantize(64).save(file, "PNG", optimize=True)
    write_whole(TARGET, file.getvalue())
    print(f"{TARGET}: {len(tiles)} of {len(lines)} images")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
