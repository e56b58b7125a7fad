#!/usr/bin/env python3
"""Runs other projects' test images through the image rules and a second decoder, and prints the files on which they differ.

    tests/harness/image_suites.py [--folder NAME=DIR ...] [--kept out/suites] [--json FILE] [--all]

Without --folder it gets the suites of Pillow (pip: the source archive, which has bmpsuite too), libpng (with PngSuite),
libjpeg-turbo and libnsbmp (in the source of netsurf), the last three by apt-get source. The second decoder is ImageMagick
(apt-get install imagemagick), or OpenCV if that is missing. Exit status 1 if an answer differs from the second decoder's, or a
file is refused that it accepts, and EXPLAINED does not say why.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import FOREIGN_EXTENSIONS, IMAGE_EXTENSIONS
from limiar.edge_app.image.read import decode

NEAR = 2  # levels: rounding of 16 bits, of alpha, and of another libjpeg
HANG_S = 10
LARGE_PX = 12_000_000  # the smallest limit of pixels, that of WebP
SOURCES = {  # suite -> Debian source package, and the folder in it
    "libpng": ("libpng1.6", "contrib"),
    "libjpeg-turbo": ("libjpeg-turbo", "testimages"),
    "libnsbmp": ("netsurf", "libnsbmp/test"),
}
MAGICK = shutil.which("magick") or shutil.which("convert-im6.q16") or shutil.which("convert-im7.q16")
READ = {"PNG", "JPEG", "BMP", "BMP3", "DIB", "WEBP", "TIFF", "PGM", "PPM", "PNM"}  # ImageMagick's names
EXPLAINED = {  # part of a file's path -> why its answer may differ
    "apng/": "animated by its acTL; ImageMagick 6 shows the first frame and does not say so",
    "blend_transparency.png": "an animated PNG too",
    "1_trns.png": "a transparent sample beyond the depth: its lowest bits count (ISO/IEC 15948, 11.3.2.1)",
    "8bit.s.tif": "signed samples: nothing says which value is black",
    "bmp/b/": "bmpsuite calls it bad: decoders may read a part of it, or nothing",
    "rletrns.bmp": "pixels are left out: the file does not say their colour, and other decoders take black",
    "pal8os2v2-16.bmp": "a header of 16 bytes, which Windows does not read either",
    "pal8os2v2.bmp": "equal to bmpsuite's pal8.bmp; ImageMagick 6 reads the palette with 3 bytes a colour",
    "pal8oversizepal.bmp": "equal to bmpsuite's pal8.bmp: colours that no pixel uses do no harm",
    "rgb32fakealpha.bmp": "equal to bmpsuite's rgb32.bmp: its header declares no alpha",
    "rgb16-231.bmp": "1 to 3 bits spread over the full range; ImageMagick 6 puts them into the upper bits",
    "rgba16-4444.bmp": "4 bits spread over the full range; ImageMagick 6 puts them into the upper bits",
    "rgb32bf-abgr.bmp": "equal to Pillow's reference rgb32bf-xbgr.bmp: alpha that is 0 everywhere does not count",
    "mantis-2446.bmp": "alpha that is 0 everywhere does not count",
    "hopper_rle8_row_overflow.bmp": "its runs go beyond the rows",
    "child_ifd": "a second picture in a SubIFD, which ImageMagick does not count",
    "no_rows_per_strip.tif": "its directory points to a second one",
    "clipboard.dib": "only a part of a BMP: the file header is missing",
    "courB08.pbm": "a PNG under the name of another format",
    "exif_imagemagick_orientation.png": "an orientation in ImageMagick's own text chunk, but a PNG has its EXIF in eXIf",
    ".ico": "an icon holds several pictures",
    "hopper_webp.tif": "not on the list: WebP in TIFF",
    "png_decompression_dos.png": "a text that inflates to more than 1 MB",
    "tRNS_null_1x1.png": "a line end after the PNG's end",
    "tiff_gray_2_4_bpp/hopper": "white is zero: equal to the file in which it is not; ImageMagick 6 inverts only 1 and 8 bits",
    "tiff_wrong_bits_per_sample_2.tiff": "two depths for one picture",
    "rgb-alpha-16": "alpha goes over black after both have 8 bits: up to 3 levels",
    "testimgari.jpg": "arithmetic-coded: nothing can tell that such data were cut",
    "afl-bmp/": "a fuzzer's damaged file: decoders disagree about it",
}


@dataclass(frozen=True)
class Second:
    """What the second decoder says about a file."""

    pixels: Pixels | None  # uint8 [H, W, 3]; None: it cannot read the file
    complaint: str  # what it said on stderr


@dataclass(frozen=True)
class Found:
    """One file of a suite."""

    file: str
    code: str  # "" if it is answered
    message: str
    levels: int | None  # the largest difference between the answers; None: one of them is missing
    agreed: bool
    complaint: str

    @property
    def explained(self) -> str:
        return next((reason for part, reason in EXPLAINED.items() if part in self.file), "")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--folder", action="append", default=[], metavar="NAME=DIR", help="use this suite instead; may be repeated"
    )
    options.add_argument(
        "--kept", type=Path, default=Path("out/suites"), help="keep suites in this folder (default: %(default)s)"
    )
    options.add_argument("--json", type=Path)
    options.add_argument("--all", action="store_true", help="list every file, not only those on which the two disagree")
    asked = options.parse_args()
    print(f"second decoder: {MAGICK or 'OpenCV ' + cv2.__version__}")
    suites = dict(entry.split("=", 1) for entry in asked.folder) or got(asked.kept)
    results = {}
    for name, folder in suites.items():
        print(f"{name}: {folder}", file=sys.stderr)
        results[name] = [compared(path, Path(folder)) for path in images(Path(folder))]
    for line in table(results):
        print(line)
    unexplained = 0
    for name, found in results.items():
        for one in found:
            if asked.all or not one.agreed:
                mark = "" if one.agreed else f"  EXPLAINED: {one.explained}" if one.explained else "  NOT AGREED"
                second = f"; second: {one.complaint}" if one.complaint else ""
                print(f"{name} {one.file}: {one.code or f'answered, {one.levels} levels'} {one.message}{second}{mark}")
            unexplained += not one.agreed and not one.explained
    if asked.json:
        asked.json.write_text(json.dumps({name: [asdict(one) for one in found] for name, found in results.items()}, indent=1))
    return 1 if unexplained else 0


def got(kept: Path) -> dict[str, Path]:
    """Suite -> its folder, from `kept`, or from pip and apt. A suite that is not available is named on stderr and left out."""
    suites = {}
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("Pillow", *SOURCES):
        folder = kept / name
        try:
            if not folder.is_dir():
                with tempfile.TemporaryDirectory() as scratch:
                    archive, part = pillow(Path(scratch)) if name == "Pillow" else debian(name, Path(scratch))
                    unpack(archive, part, folder)
            suites[name] = folder
        except (OSError, subprocess.SubprocessError, tarfile.TarError, StopIteration) as error:
            print(f"{name}: not available here ({error!r})", file=sys.stderr)
    return suites


def pillow(scratch: Path) -> tuple[Path, str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps", "pillow"]
    run(command, scratch)
    return next(scratch.glob("pillow-*.tar.gz")), "Tests/images"


def debian(name: str, scratch: Path) -> tuple[Path, str]:
    """apt-get source with its own lists, because the machine's apt may have no source lists."""
    package, part = SOURCES[name]
    lists, parts = scratch / "lists", scratch / "parts"
    (lists / "partial").mkdir(parents=True)
    parts.mkdir()
    for given in Path("/etc/apt/sources.list.d").glob("debian*.sources"):
        (parts / given.name).write_text(given.read_text().replace("Types: deb\n", "Types: deb-src\n"))
    given_list = Path("/etc/apt/sources.list")
    lines = given_list.read_text().splitlines() if given_list.is_file() else []
    source = "\n".join(line.replace("deb ", "deb-src ", 1) for line in lines if line.startswith("deb "))
    (scratch / "sources.list").write_text(source + "\n")
    apt = ["apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={scratch / 'sources.list'}", "-o", f"Dir::Etc::sourceparts={parts}"]
    apt += ["-o", f"Dir::State::lists={lists}"]
    run([*apt, "update"], scratch)
    print(f"{name}: apt-get source --download-only {package}", file=sys.stderr)
    # Not checked: the mirror may no longer have a patch, which is not needed.
    subprocess.run([*apt, "source", "--download-only", package], cwd=scratch, capture_output=True, check=False, timeout=300)
    return next(path for path in scratch.iterdir() if ".orig.tar" in path.name), part


def run(command: list[str], folder: Path) -> None:
    print(" ".join(map(str, command)), file=sys.stderr)
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=600)


def unpack(archive: Path, part: str, folder: Path) -> None:
    """Unpacks only the image files under the archive's folder `part`."""
    with tarfile.open(archive) as opened:
        for member in opened:
            path = Path(member.name)
            inside = path.as_posix().partition("/")[2]
            if member.isfile() and (inside == part or inside.startswith(part + "/")) and is_image(path):
                target = folder / Path(inside).relative_to(part)
                target.parent.mkdir(parents=True, exist_ok=True)
                content = opened.extractfile(member)
                target.write_bytes(content.read() if content else b"")


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS | FOREIGN_EXTENSIONS


def images(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.rglob("*") if path.is_file() and is_image(path)))


def compared(path: Path, folder: Path) -> Found:
    """Compares both decoders on one file."""
    file = path.relative_to(folder).as_posix()
    second = by_magick(path) if MAGICK else by_opencv(path)
    complaint = second.complaint.replace(str(folder), "")[:120]
    signal.alarm(HANG_S)  # a hang is a bug, and ends this script
    try:
        ours = decode(path.read_bytes(), path.name).pixels()
    except ImageError as error:
        agreed = second.pixels is None or bool(complaint) or agrees(error.code, second, path)
        return Found(file, error.code, error.message, None, agreed, complaint)
    finally:
        signal.alarm(0)
    if second.pixels is None or second.pixels.shape != ours.shape:
        return Found(file, "", "the second decoder answers differently", None, False, complaint)
    levels = int(np.abs(ours.astype(int) - second.pixels).max())
    return Found(file, "", "", levels, levels <= NEAR, complaint)


def agrees(code: str, second: Second, path: Path) -> bool:
    """Whether what the second decoder says about a file that it reads supports the refusal."""
    kind, frames, bits, colours = described(path) if MAGICK else (path.suffix[1:].upper(), 1, 8, "sRGB")
    return {
        "E-IMAGE-FORMAT": kind not in READ,
        "E-IMAGE-HEIC": kind in ("HEIC", "HEIF"),
        "E-IMAGE-DICOM": kind == "DCM",
        "E-IMAGE-FRAMES": frames > 1,
        "E-IMAGE-DEPTH": bits > 8,
        "E-IMAGE-COLOUR": colours not in ("sRGB", "Gray", "RGB"),
        "E-IMAGE-PIXELS": second.pixels is not None and second.pixels[:, :, 0].size > LARGE_PX,
    }.get(code, False)


def described(path: Path) -> tuple[str, int, int, str]:
    """Format, pictures, bits a sample and colours, in ImageMagick's words."""
    asked = ["-format", "%m %z %[colorspace]\n", "-write", "info:-", "null:"]
    said = subprocess.run([str(MAGICK), str(path), *asked], **PIPES, check=False).stdout.decode("latin-1").splitlines()
    kind, bits, colours = (*said[0].split(), "", "0", "")[:3] if said else ("", "0", "")
    return kind, len(said), int(bits), colours


def by_magick(path: Path) -> Second:
    """Turned upright, alpha over black, 8 bits by the range of the depth; no profile or gamma is applied."""
    upright = ["-set", "colorspace", "sRGB", "-auto-orient", "-background", "black", "-alpha", "remove", "-strip"]
    made = subprocess.run([str(MAGICK), f"{path}[0]", *upright, "-depth", "8", "ppm:-"], **PIPES, check=False)
    complaint = b" ".join(made.stderr.split()).decode("latin-1")
    pixels = None
    if made.returncode == 0 and made.stdout.startswith(b"P6"):
        width, height = map(int, made.stdout.split(maxsplit=3)[1:3])
        pixels = np.frombuffer(made.stdout[-3 * width * height :], np.uint8).reshape(height, width, 3)
    return Second(pixels, complaint)


PIPES: dict[str, Any] = {"capture_output": True, "timeout": 60}


def by_opencv(path: Path) -> Second:
    """Without complaints: OpenCV's lines on stderr cannot be told from other lines there."""
    read = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return Second(None if read is None else np.asarray(read[:, :, ::-1], np.uint8), "")


def table(results: dict[str, list[Found]]) -> Iterator[str]:
    yield "| suite | files | answered, equal | within 2 levels | differently | refused, agreed | refused by limiar alone |"
    yield "|---|---|---|---|---|---|---|"
    for name, found in results.items():
        answered = [one for one in found if not one.code]
        refused = [one for one in found if one.code]
        counts = [
            len(found),
            sum(one.levels == 0 for one in answered),
            sum(one.levels is not None and 0 < one.levels <= NEAR for one in answered),
            sum(not one.agreed for one in answered),
            sum(one.agreed for one in refused),
            sum(not one.agreed for one in refused),
        ]
        yield f"| {name} | " + " | ".join(map(str, counts)) + " |"
    codes = Counter(one.code for found in results.values() for one in found if one.code)
    yield "refused: " + ", ".join(f"{code} {count}" for code, count in codes.most_common())


if __name__ == "__main__":
    sys.exit(main())
