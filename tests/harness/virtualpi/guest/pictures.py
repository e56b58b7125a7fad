"""Prints what limiar makes of each DICOM file in a folder, as JSON: `pictures.py FOLDER`; runs on the desktop and on a device.

File -> the sha256 of its frames' levels and model inputs, or the code that it is refused with.
"""

import hashlib
import json
import sys
from pathlib import Path

from limiar.edge_app.bundle.manifest import DicomSpec, InputSpec, Window
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode_opened, opened
from limiar.edge_app.image.resize import model_input

SPEC = InputSpec(height=40, width=40, channels=3, dicom=DicomSpec(window=Window(centre=40, width=400)))


def main(folder: str) -> None:
    print(json.dumps({path.name: levels(path.read_bytes(), path.name) for path in sorted(Path(folder).iterdir())}))


def levels(data: bytes, name: str) -> str:
    found = hashlib.sha256()
    try:
        file = opened(data, name, SPEC)
        for frame in range(file.frames):
            picture = decode_opened(data, file, SPEC, frame)
            found.update(picture[:].tobytes())
            found.update(model_input(picture, SPEC).tobytes())
    except ImageError as error:
        return error.code
    return found.hexdigest()


if __name__ == "__main__":
    main(sys.argv[1])
