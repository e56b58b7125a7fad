"""DICOM files in every transfer syntax, written by encoders of other projects: dcmtk, GDCM, OpenJPH.

So a decoder of ours is tried on files that no library of ours wrote. TOOLS are Debian packages, for tests only.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate

from dicom_files import dicom_file

PACKAGES = {"dcmtk": "dcmconv", "libgdcm-tools": "gdcmconv", "openjph-tools": "ojph_compress"}  # and a program of each


class Encoder(NamedTuple):
    """How a file gets a transfer syntax."""

    syntax: str  # its UID
    command: tuple[str, ...]  # followed by the file to read and the one to write
    lossless: bool = True
    kinds: tuple[str, ...] = ("grey8", "grey12", "grey16", "signed16", "colour")  # what it can write, keys of `pictures`


ENCODERS = {
    "implicit": Encoder(uid.ImplicitVRLittleEndian, ("dcmconv", "+ti")),
    "explicit": Encoder(uid.ExplicitVRLittleEndian, ("dcmconv", "+te")),
    "big": Encoder(uid.ExplicitVRBigEndian, ("dcmconv", "+tb")),
    "deflated": Encoder(uid.DeflatedExplicitVRLittleEndian, ("dcmconv", "+td")),
    "rle": Encoder(uid.RLELossless, ("dcmcrle",)),
    "rle-gdcm": Encoder(uid.RLELossless, ("gdcmconv", "--rle")),
    "jpeg": Encoder(uid.JPEGBaseline8Bit, ("dcmcjpeg", "+eb"), False, ("grey8", "colour")),
    "jpeg-lossless-57": Encoder(uid.JPEGLossless, ("dcmcjpeg", "+el", "+sv", "6")),
    "jpeg-lossless-70": Encoder(uid.JPEGLosslessSV1, ("dcmcjpeg", "+e1")),
    "jpeg-ls": Encoder(uid.JPEGLSLossless, ("dcmcjpls", "+el")),
    "jpeg-ls-near": Encoder(uid.JPEGLSNearLossless, ("dcmcjpls", "+en"), False, ("grey8", "grey12", "grey16", "colour")),
    "j2k": Encoder(uid.JPEG2000Lossless, ("gdcmconv", "--j2k")),
}
HTJ2K = uid.HTJ2KLossless


def missing_packages() -> list[str]:
    return [package for package, program in PACKAGES.items() if not shutil.which(program)]


def pictures() -> dict[str, NDArray[Any]]:
    """Stored values of each kind, [H, W] or [H, W, 3]: smooth, with noise and both ends of the range."""
    y, x = np.mgrid[:64, :70].astype(np.int64)
    mixed = (y * 2654435761 + x * 2246822519 + (y * x)) % 65_521
    share = (y * 3 + x * 2 + mixed % 40) / 450
    grey = {bits: (share * ((1 << bits) - 1)).clip(0, (1 << bits) - 1) for bits in (8, 12, 16)}
    for values in grey.values():
        values[0, 0], values[-1, -1] = 0, values.max()
    return {
        "grey8": grey[8].astype(np.uint8),
        "grey12": grey[12].astype(np.uint16),
        "grey16": grey[16].astype(np.uint16),
        "signed16": (grey[16] - 32_768).astype(np.int16),
        "colour": np.stack([grey[8], grey[8][::-1], grey[8][:, ::-1]], axis=2).astype(np.uint8),
    }


def encoded(name: str, kind: str) -> bytes:
    """The picture `kind` in the transfer syntax of an encoder. Raises AssertionError: it does not write such pictures."""
    colour, bits = kind == "colour", {"grey12": 12}.get(kind)
    plain = dicom_file(pictures()[kind], bits=bits, photometric="RGB" if colour else "MONOCHROME2")
    with tempfile.TemporaryDirectory(prefix="limiar-encoded-") as folder:
        source, target = Path(folder, "in.dcm"), Path(folder, "out.dcm")
        source.write_bytes(plain)
        done = subprocess.run([*ENCODERS[name].command, source, target], capture_output=True, text=True, check=False)
        assert target.exists(), done.stdout + done.stderr
        return target.read_bytes()


def high_throughput(kind: str) -> bytes:
    """The picture in HTJ2K without loss, by OpenJPH: unsigned grey, or colour without a colour transform."""
    values = pictures()[kind]
    most = 4095 if kind == "grey12" else np.iinfo(values.dtype).max
    with tempfile.TemporaryDirectory(prefix="limiar-encoded-") as folder:
        source, target = Path(folder, "in.ppm" if values.ndim == 3 else "in.pgm"), Path(folder, "out.j2c")
        head = f"P{6 if values.ndim == 3 else 5} {values.shape[1]} {values.shape[0]} {most}\n".encode()
        source.write_bytes(head + values.astype(">u2" if most > 255 else "u1").tobytes())
        options = ["-reversible", "true", *(["-colour_trans", "false"] if values.ndim == 3 else [])]
        done = subprocess.run(
            ["ojph_compress", "-i", source, "-o", target, *options], capture_output=True, text=True, check=False
        )
        assert target.exists(), done.stdout + done.stderr
        code = target.read_bytes()
    plain = dicom_file(values, bits=12 if kind == "grey12" else None, photometric="RGB" if values.ndim == 3 else "MONOCHROME2")
    return _encapsulated(plain, code)


def _encapsulated(plain: bytes, code: bytes) -> bytes:
    """The file with this code stream as its pixels."""
    import io

    import pydicom

    header = pydicom.dcmread(io.BytesIO(plain))
    header.file_meta.TransferSyntaxUID = HTJ2K
    header.PixelData = encapsulate([code + bytes(len(code) % 2)])
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    pydicom.dcmwrite(file, header, enforce_file_format=True)
    return file.getvalue()
