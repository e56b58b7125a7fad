"""What a service does beside answering, on a real one: it serves metrics, writes them, and outlives a port that is taken."""

import socket
import urllib.request
from pathlib import Path

from ports import free_port
from services import Service


def test_a_service_publishes_its_metrics(tiny_path: Path, images: Path, tmp_path: Path) -> None:
    port, textfile = free_port(), tmp_path / "limiar.prom"
    more = f'[health]\nlisten = "127.0.0.1:{port}"\ntextfile = "{textfile}"\nfree_megabytes = 1\n'
    with Service(tmp_path, tiny_path, more=more) as service:
        for image in sorted(images.iterdir())[:5]:
            service.put(image.name, image.read_bytes())
        service.wait(lambda: len(service.done()) == 5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            assert b'\nlimiar_source_answers_total{source="inbox",kind="folder"} 5\n' in answer.read()
        with urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=20) as answer:
            assert answer.read() == b"ok\n"
        assert b"\nlimiar_up 1\n" in textfile.read_bytes()
        assert service.end() == 0


def test_a_port_that_is_taken_and_a_textfile_without_a_folder_are_logged_and_stop_nothing(
    tiny_path: Path, images: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        more = f'[health]\nlisten = "127.0.0.1:{port}"\ntextfile = "none/limiar.prom"\nfree_megabytes = 1\n'
        with Service(tmp_path, tiny_path, more=more) as service:
            image = min(images.iterdir())
            service.put(image.name, image.read_bytes())
            service.wait(lambda: service.done())
            log = service.log.read_text()
            assert "error E-CONFIG-LISTEN" in log
            assert "error E-OUTPUT-WRITE" in log
