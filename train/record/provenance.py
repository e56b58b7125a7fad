"""What made a RUN: the versions of its tools, and the commit of limiar."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TOOLS = ("limiar", "keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "pillow")


def tool_versions(backend: str) -> dict[str, str]:
    """The versions of everything that had a part in the numbers (the course's watermark). backend: Keras's."""
    versions = {"python": platform.python_version(), "machine": platform.machine(), "backend": backend}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return versions


def commit() -> str:
    """The commit of limiar's source tree, with "-dirty" if files were changed; "unknown" if installed from a wheel."""
    tree = Path(__file__).resolve().parents[2]
    if not (tree / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"
