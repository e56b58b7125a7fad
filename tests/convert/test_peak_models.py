"""The networks by which a processor's peak is measured are what their script makes."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_the_networks_of_the_peak_are_what_the_script_makes(tmp_path: Path) -> None:
    code = "; ".join(
        (
            f"import sys; sys.path.insert(0, {str(PROJECT / 'scripts')!r})",
            "import make_peak_models as made; from pathlib import Path",
            f"made.PLACE = Path({str(tmp_path / 'peak')!r})",
            "made.main()",
        )
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)
    committed = PROJECT / "edge_app" / "bench" / "peak"
    names = sorted(path.name for path in committed.iterdir())
    assert names == ["fp32.tflite.gz", "int8.tflite.gz"]
    for name in names:
        assert (tmp_path / "peak" / name).read_bytes() == (committed / name).read_bytes()
