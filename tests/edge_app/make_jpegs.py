"""Makes tests/edge_app/data/jpeg with libjpeg-turbo's cjpeg: kinds of JPEG that Pillow does not write.

.venv/bin/python tests/edge_app/make_jpegs.py
"""

import subprocess
from pathlib import Path

from PIL import Image

DATA = Path(__file__).parent / "data"
KINDS = {
    "arithmetic": ["-arithmetic"],
    "sampling-410": ["-sample", "4x2,1x1,1x1"],
    "sampling-410-restarts": ["-sample", "4x2,1x1,1x1", "-restart", "2B"],
    "sampling-410-progressive": ["-sample", "4x2,1x1,1x1", "-progressive"],
    "sampling-440": ["-sample", "1x2,1x1,1x1"],
    "scan-each": ["-scans", "/dev/stdin"],
}


def main() -> None:
    (DATA / "jpeg").mkdir(exist_ok=True)
    source = Path("/tmp/source.ppm")
    Image.open(DATA / "images" / "rgb-444.jpg").save(source)
    for name, options in KINDS.items():
        command = ["cjpeg", "-quality", "80", *options, "-outfile", DATA / "jpeg" / f"{name}.jpg", source]
        subprocess.run(command, input=b"0;\n1;\n2;\n", check=True)


if __name__ == "__main__":
    main()
