"""An S3 server on this machine, for tests of archives: moto's, in a process of its own.

with ObjectStore(folder) as store:
    store.put("bucket/a.png", data)
    # what runs with store.environment finds it
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from ports import free_port

_START_S = 120.0


class ObjectStore:
    """Use as a context manager; the bucket is called `bucket`."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "moto.log"
        self.port = free_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def __enter__(self) -> Self:
        command = [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self.environment})
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/moto-api/", timeout=30):  # TimeoutError is one too
                self._files().mkdir("bucket")
                return self
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        self.end()
        raise RuntimeError(self._log.read_text())

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stops the server; what it held is gone."""
        self._process.kill()
        self._process.wait()

    def put(self, key: str, data: bytes) -> None:
        """Puts an object into the bucket."""
        self._files().pipe_file(f"bucket/{key}", data)

    def remove(self, key: str) -> None:
        """Removes one."""
        self._files().rm_file(f"bucket/{key}")

    def _files(self) -> Any:
        from s3fs import S3FileSystem

        secret = self.environment["AWS_SECRET_ACCESS_KEY"]
        address = self.environment["AWS_ENDPOINT_URL"]
        return S3FileSystem(key="nobody", secret=secret, endpoint_url=address, use_listings_cache=False)
